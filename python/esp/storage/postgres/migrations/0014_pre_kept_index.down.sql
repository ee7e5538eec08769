DROP TABLE mailbox_index;

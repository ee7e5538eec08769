DROP TABLE annotation, mailbox_acl;
ALTER TABLE mailbox DROP COLUMN acl_version;
ALTER TABLE account DROP COLUMN shared, DROP COLUMN quota_level;

DROP TABLE import_item, import_folder;

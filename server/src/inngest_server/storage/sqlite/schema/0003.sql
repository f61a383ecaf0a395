-- Whether the server found an app by itself.
ALTER TABLE apps ADD COLUMN autodiscovered INTEGER NOT NULL DEFAULT 0;

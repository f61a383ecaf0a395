-- Whether the app's SDK executes a step with an edited input. Apps say so again at their next sync.
ALTER TABLE apps ADD COLUMN takes_input INTEGER NOT NULL DEFAULT 0;
UPDATE apps SET takes_input = 1 WHERE sdk LIKE 'js:%';

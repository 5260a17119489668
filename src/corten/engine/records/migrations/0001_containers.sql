-- What exists by name; everything else about a container is in its JSON body.
CREATE TABLE containers (
    id      TEXT PRIMARY KEY NOT NULL,
    name    TEXT NOT NULL UNIQUE,
    created TEXT NOT NULL,
    body    BLOB NOT NULL
) WITHOUT ROWID;

-- Rows that could not be understood: set aside for a person, never read by the engine.
CREATE TABLE damaged (
    noun   TEXT NOT NULL,
    id     TEXT NOT NULL,
    name   TEXT NOT NULL,
    body   BLOB NOT NULL,
    reason TEXT NOT NULL,
    moved  TEXT NOT NULL
);

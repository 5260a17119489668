-- What exists by name; everything else about a network is in its JSON body.
CREATE TABLE networks (
    id      TEXT PRIMARY KEY NOT NULL,
    name    TEXT NOT NULL UNIQUE,
    created TEXT NOT NULL,
    body    BLOB NOT NULL
) WITHOUT ROWID;

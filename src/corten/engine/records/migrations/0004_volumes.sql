-- What exists by name; everything else about a volume is in its JSON body.
CREATE TABLE volumes (
    name    TEXT PRIMARY KEY NOT NULL,
    created TEXT NOT NULL,
    body    BLOB NOT NULL
) WITHOUT ROWID;

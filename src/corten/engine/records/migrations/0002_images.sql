-- What exists; everything else about an image is in its JSON body.
CREATE TABLE images (
    id      TEXT PRIMARY KEY NOT NULL,
    created TEXT NOT NULL,
    body    BLOB NOT NULL
) WITHOUT ROWID;

-- The names of images. A name belongs to one image at most.
CREATE TABLE image_references (
    reference TEXT PRIMARY KEY NOT NULL,
    image     TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX image_references_image ON image_references (image);

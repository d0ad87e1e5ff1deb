-- One version of the objects. {schema} and {version} are replaced.
CREATE SCHEMA {schema};

CREATE TABLE {schema}.items (
    id      int PRIMARY KEY,
    name    text NOT NULL,
    price   numeric(10,2) NOT NULL,
    note    text,                      -- NULL for even ids
    tags    text[] NOT NULL,
    doc     jsonb NOT NULL,
    raw     bytea NOT NULL,
    made    timestamptz NOT NULL,
    flag    boolean,                   -- NULL for every third
    ratio   float8 NOT NULL,
    version text NOT NULL
);
INSERT INTO {schema}.items
SELECT i, 'item ' || i, i * 1.25, CASE WHEN i % 2 = 1 THEN 'note ' || i END, ARRAY['a' || i, 'b,"' || i],
       jsonb_build_object('id', i, 'n', NULL), decode(lpad(to_hex(i), 8, '0'), 'hex'),
       timestamptz '2024-02-29 12:00:00+00' + i * interval '1 minute', CASE WHEN i % 3 > 0 THEN i % 2 = 0 END, i / 7.0, '{version}'
FROM generate_series(1, 200) i;

-- Rows of 1 MB, stored as they are, so that they are read without unpacking.
CREATE TABLE {schema}.big (id int PRIMARY KEY, body text NOT NULL, version text NOT NULL);
ALTER TABLE {schema}.big ALTER body SET STORAGE EXTERNAL;
INSERT INTO {schema}.big SELECT i, repeat(chr(96 + i), 1048576), '{version}' FROM generate_series(1, 3) i;

-- What clients write: the row says by its default which version took it.
CREATE TABLE {schema}.sink (run text NOT NULL, n int NOT NULL, body text, version text NOT NULL DEFAULT '{version}');

CREATE FUNCTION {schema}.speak(n int) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..n LOOP RAISE NOTICE 'said by {version}'; END LOOP;
    RETURN '{version}';
END $$;

GRANT USAGE ON SCHEMA {schema} TO PUBLIC;
GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO PUBLIC;

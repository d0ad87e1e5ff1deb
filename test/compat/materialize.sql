-- One version of the objects for the simulated Materialize. Words in braces are
-- replaced. The cluster has the schema's name.
CREATE CLUSTER {schema} (SIZE = 'bootstrap');
CREATE SCHEMA {schema};

CREATE TABLE {schema}.stock (
    id    int NOT NULL,
    name  text NOT NULL,
    price numeric(10,2) NOT NULL,
    note  text,                      -- NULL for even ids
    tags  text[] NOT NULL,
    doc   jsonb NOT NULL,
    raw   bytea NOT NULL,
    made  timestamptz NOT NULL,
    flag  boolean,                   -- NULL for every third
    ratio float8 NOT NULL
);
INSERT INTO {schema}.stock VALUES
    {rows};
CREATE INDEX stock_idx IN CLUSTER {schema} ON {schema}.stock (id);

-- A row is of this version only when it was read on this version's cluster: an answer
-- of a session that was moved by half is of neither.
CREATE VIEW {schema}.items AS
SELECT id, name, price, note, tags, doc, raw, made, flag, ratio,
       CASE current_setting('cluster') WHEN '{schema}' THEN '{version}' ELSE '{version} on cluster ' || current_setting('cluster') END AS version
FROM {schema}.stock;

-- Rows of 1 MB.
CREATE TABLE {schema}.bodies (id int NOT NULL, body text NOT NULL);
INSERT INTO {schema}.bodies VALUES (1, repeat('a', 1048576)), (2, repeat('b', 1048576)), (3, repeat('c', 1048576));
CREATE VIEW {schema}.big AS
SELECT b.id, b.body, i.version FROM {schema}.bodies b JOIN {schema}.items i ON i.id = b.id;

-- What clients write: the schema says which version took it.
CREATE TABLE {schema}.sink (run text NOT NULL, n int NOT NULL, body text);

-- What they wait for; see materialize.go.
CREATE VIEW {schema}.slow AS SELECT id, version FROM {schema}.items;
CREATE VIEW {schema}.pause AS SELECT id, version FROM {schema}.items;

-- What they subscribe to.
CREATE TABLE {schema}.ticks (n int NOT NULL);
INSERT INTO {schema}.ticks VALUES (0);
CREATE MATERIALIZED VIEW {schema}.news IN CLUSTER {schema} AS SELECT n, '{version}'::text AS version FROM {schema}.ticks;

GRANT USAGE ON SCHEMA {schema} TO PUBLIC;
GRANT USAGE ON CLUSTER {schema} TO PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO PUBLIC;
GRANT INSERT ON {schema}.sink TO PUBLIC;

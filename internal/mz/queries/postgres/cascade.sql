-- What DROP SCHEMA … CASCADE would take along, walked as the server walks it: from
-- the schema to what depends on it, from a rule to its view.
-- $1 schema oid. The schema's own objects are left out; a default, a trigger, a policy
-- or a constraint lies where its table does. The last column is the schema of what would
-- go, unquoted, NULL where it has none.
WITH RECURSIVE reach(classid, objid) AS (
  SELECT d.classid, d.objid FROM pg_catalog.pg_depend d
  WHERE d.refclassid = 'pg_catalog.pg_namespace'::regclass AND d.refobjid::text = $1
  UNION
  SELECT n.classid, n.objid FROM reach r CROSS JOIN LATERAL (
    SELECT d.classid, d.objid FROM pg_catalog.pg_depend d
    WHERE d.refclassid = r.classid AND d.refobjid = r.objid
    UNION ALL
    SELECT 'pg_catalog.pg_class'::regclass, w.ev_class FROM pg_catalog.pg_rewrite w
    WHERE r.classid = 'pg_catalog.pg_rewrite'::regclass AND w.oid = r.objid
  ) n
), part(classid, objid, relid) AS (
  SELECT 'pg_catalog.pg_attrdef'::regclass, a.oid, a.adrelid FROM pg_catalog.pg_attrdef a
  UNION ALL
  SELECT 'pg_catalog.pg_trigger'::regclass, t.oid, t.tgrelid FROM pg_catalog.pg_trigger t
  UNION ALL
  SELECT 'pg_catalog.pg_policy'::regclass, p.oid, p.polrelid FROM pg_catalog.pg_policy p
)
SELECT i.type, r.objid::text, i.identity, n.nspname
FROM reach r CROSS JOIN LATERAL pg_catalog.pg_identify_object(r.classid, r.objid, 0) i
LEFT JOIN part p ON p.classid = r.classid AND p.objid = r.objid
LEFT JOIN pg_catalog.pg_class c ON c.oid = p.relid
LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace OR pg_catalog.quote_ident(n.nspname) = i.schema
WHERE r.classid <> 'pg_catalog.pg_rewrite'::regclass AND r.classid <> 'pg_catalog.pg_type'::regclass
  AND r.classid <> 'pg_catalog.pg_constraint'::regclass
  AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_trigger t
    WHERE r.classid = 'pg_catalog.pg_trigger'::regclass AND t.oid = r.objid AND t.tgisinternal)
  AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_depend d
    WHERE d.classid = r.classid AND d.objid = r.objid
      AND d.refclassid = 'pg_catalog.pg_namespace'::regclass AND d.refobjid::text = $1)
  AND n.oid::text IS DISTINCT FROM $1
  AND i.schema IS DISTINCT FROM 'pg_toast'
UNION
SELECT 'table constraint', k.oid::text, k.conname || ' on ' || k.conrelid::regclass::text, n.nspname
FROM reach r JOIN pg_catalog.pg_constraint k ON r.classid = 'pg_catalog.pg_constraint'::regclass AND k.oid = r.objid
JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.oid::text <> $1
ORDER BY 3

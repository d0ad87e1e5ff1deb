package sql

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

// evalCases are query, columns and rows. The columns of the recorded
// conversations are repeated here: 1 is int4, a text literal text, count int8.
var evalCases = [][3]string{
	// Constants and names of columns.
	{`SELECT 1`, `?column?:23!`, `1`},
	{`SELECT 'x' AS a`, `a:25!`, `x`},
	{`SELECT 3000000000, 1.50, NULL, true, 'a'::text, 1::bigint, INTERVAL '1 day'`, `?column?:20! ?column?:1700! ?column?:25 bool:16! text:25! int8:20! interval:1186!`, `3000000000|1.5|NULL|t|a|1|1 day`},
	{`SELECT coalesce(NULL, 2), CASE WHEN true THEN 1 END, CASE WHEN true THEN 1 ELSE id END, (SELECT max(id) FROM fruit) FROM fruit WHERE id = 1`, `coalesce:23! case:23 id:23! max:23`, `2|1|1|4`},
	{`SELECT greatest(1, 2.5), least(3, 2), nullif(1, 1), ARRAY[1,2], LIST['a','b c']`, `greatest:1700! least:23! nullif:23 array:1007! list:16384!`, `2.5|2|NULL|{1,2}|{a,"b c"}`},
	{`SELECT current_user, pg_backend_pid() > 0, EXISTS (SELECT 1)`, `current_user:25! ?column?:16! exists:16!`, `app|t|t`},
	{`SELECT id LIKE 'a%' FROM acl`, `?column?:16!`, `f; f`},
	{`VALUES (1, 'a'), (2, NULL)`, `column1:23! column2:25`, `1|a; 2|NULL`},
	{`SELECT`, ``, ``},
	{`TABLE empty`, `k:23 v:25`, ``},

	// Selection.
	{`SELECT * FROM fruit WHERE color = 'red' ORDER BY price DESC`, `id:23! name:25! price:1700 color:25`, `3|cherry|4|red; 1|apple|1.5|red`},
	{`SELECT f.name AS n FROM fruit f WHERE f.id IN (1, 3) ORDER BY n DESC`, `n:25!`, `cherry; apple`},
	{`SELECT name FROM fruit WHERE id NOT IN (1, 2) ORDER BY 1`, `name:25!`, `cherry; quince`},
	{`SELECT name FROM fruit WHERE color NOT IN ('red', NULL)`, `name:25!`, ``},
	{`SELECT name FROM fruit WHERE name LIKE '_an%' OR name ILIKE 'CH%'`, `name:25!`, `banana; cherry`},
	{`SELECT name FROM fruit WHERE name NOT LIKE '%a%' ORDER BY name`, `name:25!`, `cherry; quince`},
	{`SELECT 'a_b' LIKE 'a\_b', 'axb' LIKE 'a\_b', 'a%' LIKE 'a!%' ESCAPE '!'`, `?column?:16! ?column?:16! ?column?:16!`, `t|f|t`},
	{`SELECT id FROM fruit WHERE price BETWEEN 1 AND 4 ORDER BY id`, `id:23!`, `1; 3`},
	{`SELECT id FROM fruit WHERE price IS NULL OR color IS DISTINCT FROM 'red' ORDER BY id`, `id:23!`, `2; 4`},
	{`SELECT id FROM fruit WHERE (price > 1) IS NOT TRUE ORDER BY id`, `id:23!`, `2; 4`},
	{`SELECT id FROM fruit ORDER BY price NULLS FIRST LIMIT 2`, `id:23!`, `4; 2`},
	{`SELECT id FROM fruit ORDER BY price DESC`, `id:23!`, `4; 3; 1; 2`},
	{`SELECT id FROM fruit ORDER BY id LIMIT 2 OFFSET 1`, `id:23!`, `2; 3`},
	{`SELECT DISTINCT color FROM fruit ORDER BY color`, `color:25`, `red; yellow; NULL`},
	{`SELECT DISTINCT ON (color) color, name FROM fruit ORDER BY color, name DESC`, `color:25 name:25!`, `red|cherry; yellow|banana; NULL|quince`},
	{`SELECT name FROM fruit WHERE id = ANY(ARRAY[2,4]) ORDER BY 1`, `name:25!`, `banana; quince`},
	{`SELECT name FROM fruit WHERE id <> ALL('{1,2}'::int[]) ORDER BY 1`, `name:25!`, `cherry; quince`},

	// Joins.
	{`SELECT f.name, s.n FROM fruit f JOIN sale s ON s.fruit_id = f.id ORDER BY 1, 2`, `name:25! n:20!`, `apple|5; apple|10; banana|7`},
	{`SELECT f.name, s.n FROM fruit f LEFT JOIN sale s ON s.fruit_id = f.id AND s.n > 5 ORDER BY f.id`, `name:25! n:20`, `apple|10; banana|7; cherry|NULL; quince|NULL`},
	{`SELECT f.name, s.n FROM fruit f RIGHT JOIN sale s ON s.fruit_id = f.id ORDER BY s.n`, `name:25 n:20!`, `NULL|1; apple|5; banana|7; apple|10`},
	{`SELECT f.id, s.fruit_id FROM fruit f FULL JOIN sale s ON s.fruit_id = f.id AND s.n = 7 ORDER BY 1, 2`, `id:23 fruit_id:23`, `1|NULL; 2|2; 3|NULL; 4|NULL; NULL|1; NULL|1; NULL|9`},
	{`SELECT count(*) FROM fruit, sale WHERE fruit.id = sale.fruit_id AND sale.n < 10`, `count:20!`, `2`},
	{`SELECT f.id FROM fruit f LEFT JOIN sale s ON s.fruit_id = f.id WHERE s.n IS NULL ORDER BY 1`, `id:23!`, `3; 4`},
	{`SELECT fruit.name, x.m FROM fruit JOIN (SELECT fruit_id AS id, max(n) AS m FROM sale GROUP BY 1) AS x USING (id) ORDER BY id`, `name:25! m:20`, `apple|10; banana|7`},
	{`SELECT * FROM (VALUES (1), (2)) a (k) NATURAL JOIN (VALUES (2, 'b')) b (k, v)`, `k:23! v:25!`, `2|b`},
	{`SELECT f.id, l.m FROM fruit f CROSS JOIN LATERAL (SELECT max(n) AS m FROM sale s WHERE s.fruit_id = f.id) l ORDER BY 1`, `id:23! m:20`, `1|10; 2|7; 3|NULL; 4|NULL`},

	// Subqueries.
	{`SELECT name FROM fruit WHERE id IN (SELECT fruit_id FROM sale) ORDER BY 1`, `name:25!`, `apple; banana`},
	{`SELECT name FROM fruit f WHERE NOT EXISTS (SELECT FROM sale s WHERE s.fruit_id = f.id) ORDER BY 1`, `name:25!`, `cherry; quince`},
	{`SELECT name, (SELECT sum(n) FROM sale s WHERE s.fruit_id = f.id) FROM fruit f ORDER BY 1`, `name:25! sum:1700`, `apple|15; banana|7; cherry|NULL; quince|NULL`},
	{`SELECT id FROM fruit WHERE id > ALL (SELECT fruit_id FROM sale WHERE n > 5) ORDER BY 1`, `id:23!`, `3; 4`},
	{`SELECT ARRAY(SELECT name FROM fruit ORDER BY id LIMIT 2)`, `array:1009!`, `{apple,banana}`},
	{`WITH t AS (SELECT id, name FROM fruit WHERE id < 3), u (k) AS (SELECT id FROM t) SELECT t.name FROM t JOIN u ON u.k = t.id ORDER BY 1`, `name:25!`, `apple; banana`},

	// Grouping.
	{`SELECT count(*), count(price), sum(id), min(name), max(price), avg(id) FROM fruit`, `count:20! count:20! sum:20 min:25 max:1700 avg:1700`, `4|3|10|apple|4|2.5`},
	{`SELECT count(*), sum(k), array_agg(k), bool_and(k > 1) FROM empty`, `count:20! sum:20 array_agg:1007 bool_and:16`, `0|NULL|NULL|NULL`},
	{`SELECT k, count(*) FROM empty GROUP BY k`, `k:23 count:20!`, ``},
	{`SELECT color, count(*) AS n, list_agg(name ORDER BY id DESC) FROM fruit GROUP BY color ORDER BY n DESC, color`, `color:25 n:20! list_agg:16384`, `red|2|{cherry,apple}; yellow|1|{banana}; NULL|1|{quince}`},
	{`SELECT coalesce(color, 'none') AS c, string_agg(name, ',' ORDER BY name) FROM fruit GROUP BY 1 HAVING count(*) < 2 ORDER BY c`, `c:25! string_agg:25`, `none|quince; yellow|banana`},
	{`SELECT coalesce(color, 'none') || '!' FROM fruit GROUP BY coalesce(color, 'none') ORDER BY count(*) DESC, 1`, `?column?:25!`, `red!; none!; yellow!`},
	{`SELECT count(*) FILTER (WHERE color = 'red'), count(DISTINCT color), bool_or(price > 3) FROM fruit`, `count:20! count:20! bool_or:16`, `2|2|t`},
	{`SELECT upper(color) AS u FROM fruit GROUP BY u ORDER BY u NULLS FIRST`, `u:25`, `NULL; RED; YELLOW`},

	// Set operations.
	{`SELECT id FROM fruit UNION SELECT fruit_id FROM sale ORDER BY id`, `id:23!`, `1; 2; 3; 4; 9`},
	{`SELECT fruit_id FROM sale EXCEPT ALL SELECT id FROM fruit ORDER BY 1`, `fruit_id:23!`, `1; 9`},
	{`SELECT fruit_id FROM sale EXCEPT SELECT id FROM fruit`, `fruit_id:23!`, `9`},
	{`SELECT fruit_id FROM sale INTERSECT SELECT id FROM fruit ORDER BY 1`, `fruit_id:23!`, `1; 2`},
	{`SELECT 'a' AS side, count(*) FROM sale UNION ALL SELECT 'b', count(*) FROM fruit ORDER BY 1`, `side:25! count:20!`, `a|4; b|4`},
	{`SELECT NULL UNION ALL SELECT 1`, `?column?:23`, `NULL; 1`},
	{`SELECT 1 UNION SELECT 2 INTERSECT SELECT 3`, `?column?:23!`, `1`},

	// Set-returning functions.
	{`SELECT id, mz_internal.mz_aclexplode(privileges).* FROM acl`, `id:25! grantor:25! grantee:25! privilege_type:25! is_grantable:16!`, `s1|s1|p|USAGE|f; s1|s1|u1|USAGE|f; s1|s1|u1|CREATE|f`},
	{`SELECT a.grantee FROM (SELECT id, mz_aclexplode(privileges).* FROM acl) a WHERE a.privilege_type = 'CREATE'`, `grantee:25!`, `u1`},
	{`SELECT (mz_aclexplode(privileges)).grantee AS g FROM acl ORDER BY 1`, `g:25!`, `p; u1; u1`},
	{`SELECT x, generate_series(1, x) FROM generate_series(1, 2) AS x`, `x:23! generate_series:23!`, `1|1; 2|1; 2|2`},
	{`SELECT u FROM doc, unnest(tags) AS u`, `u:25`, `x; y z`},
	{`SELECT d.id, k.value FROM doc d JOIN LATERAL jsonb_array_elements(d.body -> 'b') k ON true`, `id:23! value:3802!`, `1|1; 1|2; 1|{"c":"x"}`},

	// Operators and functions.
	{`SELECT 7 / 2, -7 / 2, 7 % 3, 2 + 3 * 4, 1.0 / 3, 7.5 % 2, -(-3)`, `?column?:23! ?column?:23! ?column?:23! ?column?:23! ?column?:1700! ?column?:1700! ?column?:23!`, `3|-3|1|14|0.333333333333333333333333333333333333333|1.5|3`},
	{`SELECT 1 = 1.0, 'a' < 'b', NULL = 1, NOT NULL::bool, true AND NULL, false AND NULL, true OR NULL`, `?column?:16! ?column?:16! ?column?:16 ?column?:16 ?column?:16 ?column?:16 ?column?:16`, `t|t|NULL|NULL|NULL|f|t`},
	{`SELECT body - 'id', body -> 'b' -> 2 ->> 'c', body ->> 'a', body @> '{"a":"t"}', body ? 'a' FROM doc WHERE id = 1`, `?column?:3802 ?column?:25 ?column?:25 ?column?:16 ?column?:16`, `{"a":"t","b":[1,2,{"c":"x"}]}|x|t|t|t`},
	{`SELECT list_length(path), array_length(tags, 1), path::text, tags[2], path || 'q' FROM doc ORDER BY id`, `list_length:23! array_length:23 path:25! tags:25 ?column?:16384!`, `1|2|{p}|y z|{p,q}; 0|NULL|{}|NULL|{q}`},
	{`SELECT at + INTERVAL '24 hours' > mz_now() FROM sale WHERE n = 10`, `?column?:16!`, `t`},
	{`SELECT max(at)::text, now() - max(at), EXTRACT(EPOCH FROM now() - min(at)), EXTRACT(EPOCH FROM INTERVAL '1.5s')::bigint FROM sale`, `max:25 ?column?:1186 extract:1700 extract:20!`, `2026-01-03 00:00:00+00|00:00:00|172800|2`},
	{`SELECT iv, iv * 2, iv > '1 day', u + 1, w = 8, ts, f / 2, i2, o FROM kinds`, `iv:1186 ?column?:1186 ?column?:16 ?column?:20! ?column?:16! ts:16552! ?column?:701 i2:21 o:26`, `1 day 02:03:04.5|2 days 04:06:09|t|8|t|1767225600000|1.25|3|99`},
	{`SELECT pg_backend_pid() = u FROM kinds`, `?column?:16!`, `t`},
	{`SELECT upper('aé'), length('aé'), substring('hello' FROM 2 FOR 3), trim(' x '), replace('aba','a','c'), split_part('a.b.c','.',2), position('l' IN 'hello'), 'a' || 1, left('abc', -1), concat('a', NULL, 2)`, `upper:25! length:23! substring:25! btrim:25! replace:25! split_part:25! position:23! ?column?:25! left:25! concat:25!`, `AÉ|2|ell|x|cbc|b|3|a1|ab|a2`},
	{`SELECT 'abc' ~ '^a', 'abc' ~* 'B', 'abc' !~ 'z', round(2.5), ceil(1.2), floor(-1.2), trunc(-1.7), abs(-3), mod(7, 4)`, `?column?:16! ?column?:16! ?column?:16! round:1700! ceil:1700! floor:1700! trunc:1700! abs:23! mod:23!`, `t|t|t|3|2|-2|-1|3|3`},
	{`SELECT true::text, 't'::bool, '12'::int, 1.5::int, 2.5::int, '2026-01-01'::date + 1, '{a,NULL}'::text[], 5::numeric(10,2), 'abcd'::varchar(2)`, `bool:25! bool:16! int4:23! int4:23! int4:23! ?column?:1082! _text:1009! numeric:1700! varchar:1043!`, `true|t|12|2|3|2026-01-02|{a,NULL}|5.00|ab`},
	{`SELECT date_trunc('day', '2026-03-05 10:11:12'::timestamp), '2026-03-31'::timestamp + INTERVAL '1 month', to_timestamp(0)`, `date_trunc:1114! ?column?:1114! to_timestamp:1184!`, `2026-03-05 00:00:00|2026-04-30 00:00:00|1970-01-01 00:00:00+00`},
	{`SELECT jsonb_build_object('a', 1, 'b', NULL), to_jsonb(ARRAY['x']), '[1, 2]'::jsonb, jsonb_typeof('1')`, `jsonb_build_object:3802! to_jsonb:3802! jsonb:3802! jsonb_typeof:25!`, `{"a":1,"b":null}|["x"]|[1,2]|number`},
	{`SELECT 1 = ALL(ARRAY[]::int[]), LIST[]::text list, 3 > ANY(ARRAY[1,5])`, `?column?:16 list:16384! ?column?:16`, `t|{}|t`},
	{`SELECT to_char(now(), 'YYYY')`, ``, `E 0A000 mzcanary simulator: function to_char is not supported`},
	{`SELECT 'a' 'b'`, ``, `E 42601 Expected end of statement, found string literal "b"`},

	// Errors before the description.
	{`SELECT nope FROM fruit`, ``, `E XX000 column "nope" does not exist`},
	{`SELECT f.nope FROM fruit f`, ``, `E XX000 column "f.nope" does not exist`},
	{`SELECT * FROM no_such`, ``, `E XX000 unknown catalog item 'no_such'`},
	{`SELECT no_such_function()`, ``, `E XX000 function "no_such_function" does not exist`},
	{`SELECT length(1)`, ``, `E XX000 function length(integer) does not exist`},
	{`SELECT name FROM fruit a, fruit b`, ``, `E XX000 column reference "name" is ambiguous`},
	{`SELECT * FROM fruit, fruit`, ``, `E XX000 table name "fruit" specified more than once`},
	{`SELECT name = id FROM fruit`, ``, `E XX000 operator does not exist: text = integer`},
	{`SELECT name, count(*) FROM fruit`, ``, `E XX000 column "fruit.name" must appear in the GROUP BY clause or be used in an aggregate function`},
	{`SELECT 1 FROM fruit WHERE count(*) > 1`, ``, `E XX000 aggregate functions are not allowed in WHERE clause (function pg_catalog.count)`},
	{`SELECT 1 UNION SELECT 1, 2`, ``, `E XX000 each UNION query must have the same number of columns: 1 columns on left, 2 columns on right`},
	{`SELECT id FROM fruit UNION SELECT name FROM fruit`, ``, `E XX000 UNION types integer and text cannot be matched`},
	{`SELECT id FROM fruit WHERE id IN (SELECT id, name FROM fruit)`, ``, `E XX000 Expected subselect to return 1 column, got 2 columns`},
	{`SELECT '1'::nosuch`, ``, `E XX000 type "nosuch" does not exist`},
	{`SELECT iv::uuid FROM kinds`, ``, `E XX000 CAST does not support casting from interval to uuid`},
	{`SELECT row_number() OVER () FROM fruit`, ``, `E 0A000 mzcanary simulator: window functions are not supported`},
	{`WITH RECURSIVE t AS (SELECT 1) SELECT * FROM t`, ``, `E 0A000 mzcanary simulator: WITH … RECURSIVE is not supported`},

	// Errors after the description.
	{`SELECT 1/0 AS b`, `b:23!`, `E XX000 division by zero`},
	{`SELECT 1/id FROM fruit WHERE id = 0`, `?column?:23!`, ``},
	{`SELECT 'x'::int`, `int4:23!`, `E XX000 invalid input syntax for type integer: invalid digit found in string: "x"`},
	{`SELECT 2147483647 + 1`, `?column?:23!`, `E XX000 integer out of range`},
	{`SELECT 9223372036854775807 * 2`, `?column?:20!`, `E XX000 bigint out of range`},
	{`SELECT (SELECT id FROM fruit)`, `id:23`, `E XX000 more than one record produced in subquery`},
	{`SELECT id FROM fruit LIMIT -1`, `id:23!`, `E XX000 LIMIT must not be negative`},
	{`SELECT mz_uptime()`, `mz_uptime:1186!`, `E 0A000 mzcanary simulator: function mz_uptime is not supported`},
}

func TestEval(t *testing.T) {
	m := fruits(t)
	for _, c := range evalCases {
		columns, rows := run(t, m, c[0], nil)
		if columns != c[1] || rows != c[2] {
			t.Errorf("%s\ngot  %s\n     %s\nwant %s\n     %s", c[0], columns, rows, c[1], c[2])
		}
	}
}

func TestParams(t *testing.T) {
	m := fruits(t)
	for _, c := range []struct {
		query string
		given []uint32
		types string
		args  []Value
		want  string
	}{
		{`SELECT name FROM fruit WHERE id = $1`, nil, "23", []Value{int64(2)}, "banana"},
		{`SELECT name FROM fruit WHERE id = $1`, []uint32{20}, "20", []Value{int64(2)}, "banana"},
		{`SELECT name FROM fruit WHERE name = ANY($1) ORDER BY 1`, nil, "1009", []Value{[]Value{"apple", "cherry"}}, "apple; cherry"},
		{`SELECT name FROM fruit WHERE color = $2 AND id < $1`, nil, "23 25", []Value{int64(3), "red"}, "apple"},
		{`SELECT $1`, nil, "25", []Value{"x"}, "x"},
		{`SELECT $1::int + 1, $1`, nil, "23", []Value{int64(4)}, "5|4"},
		{`SELECT $1 || 'y', coalesce($2, 7)`, nil, "25 23", []Value{"x", nil}, "xy|7"},
		{`SELECT name FROM fruit WHERE name LIKE $1 LIMIT $2`, nil, "25 20", []Value{"%e%", int64(1)}, "apple"},
		{`SELECT now() - $1 FROM sale WHERE n = $2`, nil, "1184 20", []Value{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), int64(7)}, "2 days"},
		{`SELECT n FROM sale WHERE at + $1 > now()`, nil, "1186", []Value{Interval{Days: 1}}, "7; 1"},
	} {
		q, err := ParseQuery(c.query)
		if err != nil {
			t.Fatal(err)
		}
		p, err := q.Plan(m, c.given)
		if err != nil {
			t.Errorf("%s: %v", c.query, err)
			continue
		}
		var types []string
		for _, oid := range p.Params {
			types = append(types, itoa(int(oid)))
		}
		if got := strings.Join(types, " "); got != c.types {
			t.Errorf("%s: parameters %s, want %s", c.query, got, c.types)
			continue
		}
		rows, err := p.Eval(t.Context(), m, c.args)
		if err != nil {
			t.Errorf("%s: %v", c.query, err)
			continue
		}
		if got := showRows(rows, p.Columns); got != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.query, got, c.want)
		}
	}
	q, _ := ParseQuery(`SELECT $2::int`)
	if _, err := q.Plan(m, nil); err == nil {
		t.Error("a parameter nobody uses has no type, but Plan succeeded")
	}
}

// TestJoinIsHashed counts evaluations: an equality join must not visit every
// pair, and a relation is read once however often it is mentioned.
func TestJoinIsHashed(t *testing.T) {
	rows := make([][]any, 3000)
	for i := range rows {
		rows[i] = []any{i}
	}
	m := &memory{relations: map[string]*Relation{"big": relation(t, "k int!", rows...)}, reads: map[string]int{}}
	for _, query := range []string{
		`SELECT count(*) FROM big a JOIN big b ON a.k = b.k`,
		`SELECT count(*) FROM big a, big b WHERE a.k = b.k`,
		`SELECT count(*) FROM big a LEFT JOIN big b ON b.k + 0 = a.k + 0 AND b.k >= 0`,
		`SELECT count(*) FROM big WHERE k IN (SELECT k FROM big)`,
	} {
		q, err := ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		p, err := q.Plan(m, nil)
		if err != nil {
			t.Fatal(err)
		}
		clear(m.reads)
		e := newEnv(t.Context(), m, nil)
		out, err := p.sub.rows(e, nil)
		if err != nil || out[0][0] != int64(3000) {
			t.Errorf("%s: %v, %v", query, out, err)
		}
		if e.steps > 20*3000 {
			t.Errorf("%s: %d steps", query, e.steps)
		}
		if m.reads["big"] != 1 {
			t.Errorf("%s: relation read %d times", query, m.reads["big"])
		}
	}
}

func TestEvalStopsWithItsContext(t *testing.T) {
	m := fruits(t)
	q, err := ParseQuery(`SELECT count(*) FROM generate_series(1, 1000) a, generate_series(1, 1000) b WHERE a + b < 0`)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := q.Eval(ctx, m, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestPlanIsShared evaluates one plan from several goroutines; the race
// detector watches.
func TestPlanIsShared(t *testing.T) {
	m := fruits(t)
	q, err := ParseQuery(`SELECT color, list_agg(name ORDER BY name) FROM fruit WHERE id IN (SELECT fruit_id FROM sale) AND name LIKE $1 GROUP BY color ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	p, err := q.Plan(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				rows, err := p.Eval(t.Context(), m, []Value{"%a%"})
				if err != nil || showRows(rows, p.Columns) != "red|{apple}; yellow|{banana}" {
					t.Errorf("got %v, %v", rows, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestEvaluationErrorsKnowTheirNewCode(t *testing.T) {
	q, err := ParseQuery("SELECT 1/0")
	if err != nil {
		t.Fatal(err)
	}
	var e *Error
	if _, err := q.Eval(t.Context(), fruits(t), nil); !errors.As(err, &e) || e.Code != "XX000" || e.NewCode != "22012" {
		t.Errorf("got %+v", e)
	}
}

// BenchmarkRead is the statement most clients send: parsed, planned, answered.
func BenchmarkRead(b *testing.B) {
	m := fruits(b)
	for b.Loop() {
		list, err := Parse("SELECT name, id FROM fruit WHERE id = 1")
		if err != nil {
			b.Fatal(err)
		}
		if rows, err := list[0].(*Select).Query.Eval(b.Context(), m, nil); err != nil || len(rows) != 1 {
			b.Fatal(rows, err)
		}
	}
}

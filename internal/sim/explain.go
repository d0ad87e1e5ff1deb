package sim

import (
	"fmt"
	"strings"
	"time"

	"mzcanary/internal/sim/sql"
)

// explain is EXPLAIN TIMESTAMP: it names, by id, every collection a query would read, and runs nothing.
func (se *session) explain(st *sql.Explain) (outcome, error) {
	c := se.catalog()
	p, err := c.plan(st.Query, se.scope(), nil, se)
	if err != nil {
		return outcome{}, err
	}
	if err := se.tx.admit(opsPeeks, p.constant); err != nil {
		return outcome{}, err
	}
	text := ""
	if p.constant {
		text = "                query timestamp: <constant>\n"
	} else {
		cl, err := se.targetCluster(c, p)
		if err != nil {
			return outcome{}, err
		}
		text = se.explainTimestamp(c, p, cl)
	}
	return outcome{tag: "SELECT", hasRows: true, counted: true, columns: textColumns("Timestamp"), rows: [][]sql.Value{{text}}}, nil
}

func (se *session) explainTimestamp(c *catalog, p *planned, cl *cluster) string {
	now := se.s.now()
	read := int64(max(se.s.latest().ts, uint64(now.UnixMilli()))) - 1
	at := func(ms int64) string {
		return fmt.Sprintf("%d (%s)", ms, time.UnixMilli(ms).UTC().Format("2006-01-02 15:04:05.000"))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "                query timestamp: %s\n", at(read))
	fmt.Fprintf(&b, "          oracle read timestamp: %s\n", at(read))
	fmt.Fprintf(&b, "largest not in advance of upper: %s\n", at(read))
	fmt.Fprintf(&b, "                          upper:[%s]\n", at(read+1))
	fmt.Fprintf(&b, "                          since:[%s]\n", at((read-1000)/1000*1000))
	fmt.Fprintf(&b, "        can respond immediately: true\n")
	fmt.Fprintf(&b, "                       timeline: Some(EpochMilliseconds)\n")
	fmt.Fprintf(&b, "              session wall time: %s\n", at(now.UnixMilli()))
	for _, id := range sortedIDs(c.sufficient(p.ids, cl.id)) {
		o := c.objects[id]
		where := "storage"
		if o.kind == kindIndex {
			where = "compute"
		}
		fmt.Fprintf(&b, "\nsource %s (%s, %s):\n", c.fullName(o), o.id, where)
		fmt.Fprintf(&b, "                  read frontier:[%s]\n", at((read-1000)/1000*1000))
		fmt.Fprintf(&b, "                 write frontier:[%s]\n", at(read+1))
	}
	fmt.Fprintf(&b, "\nbinding constraints:\nlower:\n  (IsolationLevel(StrictSerializable)): [%s]\n", at(read))
	return b.String()
}

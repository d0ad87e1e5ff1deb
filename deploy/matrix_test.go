package deploy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// matrix collects where programs were killed and how their rollouts ended.
type matrix struct {
	actions   map[ActionKind]int
	scenarios []*matrixRow
	points    map[string]*matrixRow // by the kind of the point
}

type matrixRow struct {
	name           string
	points         int
	once, later    int // kills, and those whose statement arrived after the restart
	twice          int
	same           int // ended as undisturbed
	ends           string
	scenariosItHit map[string]bool
}

func newMatrix() *matrix {
	return &matrix{actions: map[ActionKind]int{}, points: map[string]*matrixRow{}}
}

func (m *matrix) met(lives []*life) {
	for _, l := range lives {
		for k, n := range l.actions {
			m.actions[k] += n
		}
	}
}

func (m *matrix) row(sc scenario, points int) *matrixRow {
	r := &matrixRow{name: sc.name, points: points, ends: fmt.Sprintf("%s, exit %d", sc.end, sc.exit)}
	m.scenarios = append(m.scenarios, r)
	return r
}

// count notes one play with as many crashes. A life that was over before its point
// came (the interleaving is not the same every time) was not killed.
func (m *matrix) count(scenario *matrixRow, lives []*life, kills int, lands, same bool) {
	if lives[0].at == "" {
		return
	}
	point := m.points[kindOfPoint(lives[0].at)]
	if point == nil {
		point = &matrixRow{name: kindOfPoint(lives[0].at), scenariosItHit: map[string]bool{}}
		m.points[point.name] = point
	}
	point.scenariosItHit[scenario.name] = true
	for _, r := range []*matrixRow{scenario, point} {
		switch {
		case kills > 1:
			r.twice++
		case lands:
			r.later++
		default:
			r.once++
		}
		if same {
			r.same++
		}
	}
}

// kindOfPoint leaves out what differs from run to run.
func kindOfPoint(at string) string {
	words := strings.Fields(at)
	for i, w := range words {
		if strings.Contains(w, "_retired_") || strings.Contains(w, "_rejected_") {
			words[i] = "…"
		}
	}
	if len(words) > 1 && (words[0] == "grant" || words[0] == "revoke") {
		words = words[:1]
	}
	if len(words) > 2 && words[0] == "sending" && (words[1] == "grant" || words[1] == "revoke") {
		words = words[:2]
	}
	if len(words) > 1 && (words[0] == "drop" || words[0] == "route") {
		words = words[:1]
	}
	if len(words) > 2 && words[1] == "drop" {
		words = words[:2]
	}
	if words[0] == "save" {
		return "journal written: " + strings.Join(words[1:], " ")
	}
	return strings.Join(words, " ")
}

// String is the matrix as Markdown.
func (m *matrix) String() string {
	var b strings.Builder
	b.WriteString("# The crash matrix\n\nWritten by `go test ./deploy -run TestCrashAnywhere -update`. Every row is a real play of the whole controller against a server, a data plane and a disk that\n" +
		"outlive it: the process is killed at the point, started again (and, under \"twice\", killed again at a point of its second life), and the end is compared\n" +
		"with that of an undisturbed run: names and ids, marks, routing and targets of sessions, rights, the journal's and the record's meaning.\n" +
		"\"Later\": the statement that was on its way reaches the server only after the restart.\n\n")
	b.WriteString("| scenario | points | killed once | later | twice | as undisturbed | it ends |\n|---|---|---|---|---|---|---|\n")
	sum := matrixRow{}
	for _, r := range m.scenarios {
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d of %d | %s |\n", r.name, r.points, r.once, r.later, r.twice, r.same, r.once+r.later+r.twice, r.ends)
		sum.points, sum.once, sum.later, sum.twice, sum.same = sum.points+r.points, sum.once+r.once, sum.later+r.later, sum.twice+r.twice, sum.same+r.same
	}
	fmt.Fprintf(&b, "| **all** | %d | %d | %d | %d | %d of %d | |\n\n", sum.points, sum.once, sum.later, sum.twice, sum.same, sum.once+sum.later+sum.twice)
	b.WriteString("| first killed | in scenarios | once | later | twice | as undisturbed |\n|---|---|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(m.points)) {
		r := m.points[name]
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d of %d |\n", name, len(r.scenariosItHit), r.once, r.later, r.twice, r.same, r.once+r.later+r.twice)
	}
	return b.String()
}

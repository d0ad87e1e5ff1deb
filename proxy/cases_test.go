package proxy_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestEveryProtocolCaseHasATest: the cases of connection start (S), cancel (C), steady
// state (M), end of life (E) and the rules of injection (I) each have a test that
// carries its number at the beginning of its name (TestS2S3…), or, where that is
// allowed, a line in docs/protocol.md.
func TestEveryProtocolCaseHasATest(t *testing.T) {
	documented := map[string]bool{"C2": true, "S19": true, "M10": true, "I4": true, "I5": true, "I10": true}
	tests := casesTested(t, ".", filepath.Join("..", "internal", "wire"))
	page, err := os.ReadFile(filepath.Join("..", "docs", "protocol.md"))
	if err != nil {
		t.Fatal(err)
	}
	missing, byLine := []string{}, []string{}
	for _, group := range []struct {
		letter string
		last   int
	}{{"S", 23}, {"C", 8}, {"M", 21}, {"E", 8}, {"I", 16}} {
		for n := 1; n <= group.last; n++ {
			number := fmt.Sprint(group.letter, n)
			told := mentions(string(page), group.letter, n)
			switch {
			case len(tests[number]) > 0 && told:
			case documented[number] && told:
				byLine = append(byLine, number)
			case len(tests[number]) > 0:
				t.Errorf("case %s is tested (%s) and not mentioned in docs/protocol.md", number, tests[number][0])
			default:
				missing = append(missing, number)
			}
		}
	}
	if len(missing) > 0 {
		t.Errorf("no test is named after %s", strings.Join(missing, ", "))
	}
	t.Logf("answered by docs/protocol.md alone: %s", strings.Join(byLine, ", "))
	for number := range tests {
		if !regexp.MustCompile(`^(S([1-9]|1\d|2[0-3])|[CE][1-8]|M([1-9]|1\d|2[01])|I([1-9]|1[0-6]))$`).MatchString(number) {
			t.Errorf("%s is named after case %s, which there is not", tests[number][0], number)
		}
	}
}

// casesTested gives the tests of packages by the cases at the beginning of their names.
func casesTested(t *testing.T, dirs ...string) map[string][]string {
	t.Helper()
	leading := regexp.MustCompile(`^Test((?:[SCMEI]\d+)+)(?:[A-Z]|$)`)
	number := regexp.MustCompile(`[SCMEI]\d+`)
	tests := map[string][]string{}
	for _, dir := range dirs {
		files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no test files in %s (%v)", dir, err)
		}
		for _, file := range files {
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range parsed.Decls {
				f, ok := d.(*ast.FuncDecl)
				if !ok || f.Recv != nil {
					continue
				}
				if m := leading.FindStringSubmatch(f.Name.Name); m != nil {
					for _, n := range number.FindAllString(m[1], -1) {
						tests[n] = append(tests[n], f.Name.Name)
					}
				}
			}
		}
	}
	return tests
}

// mentions tells whether a page speaks of a case by its number, alone or within a
// range such as C1–C8.
func mentions(page, letter string, n int) bool {
	if regexp.MustCompile(fmt.Sprintf(`\b%s%d\b`, letter, n)).MatchString(page) {
		return true
	}
	for _, m := range regexp.MustCompile(letter+`(\d+)–`+letter+`(\d+)`).FindAllStringSubmatch(page, -1) {
		var from, to int
		fmt.Sscan(m[1], &from)
		fmt.Sscan(m[2], &to)
		if from <= n && n <= to {
			return true
		}
	}
	return false
}

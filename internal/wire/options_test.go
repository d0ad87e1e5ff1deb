package wire

import (
	"reflect"
	"testing"
)

func TestS15Options(t *testing.T) {
	type pair struct{ name, value string }
	for _, c := range []struct {
		text    string
		mz, pg  []pair
		stripMz string
		stripPg string
	}{
		{text: "", mz: nil, pg: nil},
		{text: "-c a=b", mz: []pair{{"a", "b"}}, pg: []pair{{"a", "b"}}, stripMz: "-c a=b", stripPg: "-c a=b"},
		{text: "-ca=b --c=d", mz: []pair{{"a", "b"}, {"c", "d"}}, pg: []pair{{"a", "b"}, {"c", "d"}}, stripMz: "-ca=b --c=d", stripPg: "-ca=b --c=d"},
		{text: "--a-b=c", mz: []pair{{"a-b", "c"}}, pg: []pair{{"a_b", "c"}}, stripMz: "--a-b=c", stripPg: "--a-b=c"},
		{text: `-c a=b\ c\\d`, mz: []pair{{"a", `b c\d`}}, pg: []pair{{"a", `b c\d`}}, stripMz: `-c a=b\ c\\d`, stripPg: `-c a=b\ c\\d`},
		{text: "-c a=b=c-c+d", mz: []pair{{"a", "b=c-c+d"}}, pg: []pair{{"a", "b=c-c+d"}}, stripMz: "-c a=b=c-c+d", stripPg: "-c a=b=c-c+d"},
		{text: "-c\ta=b", mz: []pair{{"\ta", "b"}}, pg: []pair{{"a", "b"}}, stripMz: "-c\ta=b", stripPg: "-c\ta=b"},
		{text: "-x -c mzcanary.arm=canary -c a=b", mz: []pair{{"mzcanary.arm", "canary"}, {"a", "b"}}, pg: []pair{{"mzcanary.arm", "canary"}, {"a", "b"}}, stripMz: "-x -c a=b", stripPg: "-x -c a=b"},
		{text: "--MZCANARY.arm=canary", mz: []pair{{"MZCANARY.arm", "canary"}}, pg: []pair{{"MZCANARY.arm", "canary"}}, stripMz: "", stripPg: ""},
		{text: "-c a=b  -cmzcanary.arm=x", mz: []pair{{"a", "b"}, {"mzcanary.arm", "x"}}, pg: []pair{{"a", "b"}, {"mzcanary.arm", "x"}}, stripMz: "-c a=b ", stripPg: "-c a=b "},
		{text: "  --mzcanary.arm=x --mzcanary.y=z  -c q=1 ", mz: []pair{{"mzcanary.arm", "x"}, {"mzcanary.y", "z"}, {"q", "1"}}, pg: []pair{{"mzcanary.arm", "x"}, {"mzcanary.y", "z"}, {"q", "1"}}, stripMz: "   -c q=1 ", stripPg: "   -c q=1 "},
		{text: `-c a=x\ --mzcanary.arm=y`, mz: []pair{{"a", "x --mzcanary.arm=y"}}, pg: []pair{{"a", "x --mzcanary.arm=y"}}, stripMz: `-c a=x\ --mzcanary.arm=y`, stripPg: `-c a=x\ --mzcanary.arm=y`},
		{text: `-c a=x\  --mzcanary.arm=y`, mz: []pair{{"a", "x "}, {"mzcanary.arm", "y"}}, pg: []pair{{"a", "x "}, {"mzcanary.arm", "y"}}, stripMz: `-c a=x\ `, stripPg: `-c a=x\ `},
		{text: "-c", mz: nil, pg: nil, stripMz: "-c", stripPg: "-c"},
		{text: `--a=b\`, mz: []pair{{"a", "b"}}, pg: []pair{{"a", "b"}}, stripMz: `--a=b\`, stripPg: `--a=b\`},
	} {
		for g, want := range map[Grammar][]pair{GrammarMaterialize: c.mz, GrammarPostgres: c.pg} {
			var got []pair
			for _, o := range SplitOptions(g, c.text) {
				if o.Setting {
					got = append(got, pair{o.Name, o.Value})
				}
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%q grammar %d: %q, want %q", c.text, g, got, want)
			}
			stripped := c.stripMz
			if g == GrammarPostgres {
				stripped = c.stripPg
			}
			if got := StripOptions(g, c.text, reservedKey); got != stripped {
				t.Errorf("%q grammar %d stripped: %q, want %q", c.text, g, got, stripped)
			}
		}
	}
}

func TestArmOfOptions(t *testing.T) {
	for _, c := range []struct {
		params []Param
		want   string
	}{
		{[]Param{{"options", "-c mzcanary.arm=canary"}}, "canary"},
		{[]Param{{"options", "-c mzcanary.arm=canary --mzcanary.arm=stable"}}, "stable"},
		{[]Param{{"options", "-c mzcanary.arm=canary"}, {"options", ""}}, ""},
		{[]Param{{"options", "-c mzcanary.arms=canary"}}, ""},
		{[]Param{{"options", "-c search_path=a"}}, ""},
	} {
		s := &Startup{Params: c.params}
		if got, ok := s.Arm(GrammarMaterialize); got != c.want || ok != (c.want != "") {
			t.Errorf("%v: %q %v", c.params, got, ok)
		}
	}
}

func FuzzOptions(f *testing.F) {
	f.Add("-c mzcanary.arm=canary -c a=b\\ c")
	f.Add("--mzcanary.arm=x\t-cb=c")
	f.Add("-c \\")
	f.Add("-cm\\ZCAnArY.=") // the escaped letter is a letter
	f.Add("-c mzcanary.arm=canary\\ -c\\ x -c -c")
	f.Add("--mz-forwarded-for=1 --MZ_connection_uuid=\\\\ -c=b --=c -cmzcanary.\x00=1")
	f.Add("\v-c\fa=b\r--search-path=\"a b\",c")
	f.Add("  -cmzcanary.arm=x  --y=\\\\ ")
	f.Fuzz(func(t *testing.T, text string) {
		for _, g := range []Grammar{GrammarMaterialize, GrammarPostgres} {
			var kept []Option
			for _, o := range SplitOptions(g, text) {
				if o.Start < 0 || o.End > len(text) || o.Start >= o.End {
					t.Fatalf("%q: %+v", text, o)
				}
				if !o.Setting || !reservedKey(o.Name) {
					kept = append(kept, o)
				}
			}
			stripped := StripOptions(g, text, reservedKey)
			after := SplitOptions(g, stripped)
			if len(after) != len(kept) {
				t.Fatalf("%q became %q: %d switches, want %d", text, stripped, len(after), len(kept))
			}
			for i, o := range after {
				if stripped[o.Start:o.End] != text[kept[i].Start:kept[i].End] || o.Value != kept[i].Value {
					t.Fatalf("%q became %q", text, stripped)
				}
			}
			if len(kept) == len(SplitOptions(g, text)) && stripped != text {
				t.Fatalf("%q became %q for nothing", text, stripped)
			}
		}
	})
}

package mz

import (
	"errors"
	"regexp"
	"slices"
	"testing"
)

func TestTranslateForPostgres(t *testing.T) {
	w := New(Config{Kind: Postgres, Database: "shop"})
	defer w.Close()
	temp := regexp.MustCompile(`mzcanary_swap_[0-9a-f]{12}`)
	cases := []struct {
		statement string
		want      []string
	}{
		{`ALTER SCHEMA "shop"."prod" SWAP WITH "prod_deploy"`, []string{
			`ALTER SCHEMA "prod" RENAME TO "T"`, `ALTER SCHEMA "prod_deploy" RENAME TO "prod"`, `ALTER SCHEMA "T" RENAME TO "prod_deploy"`}},
		{`ALTER SCHEMA "prod_deploy" RENAME TO "prod_deploy_retired_r1"`, []string{`ALTER SCHEMA "prod_deploy" RENAME TO "prod_deploy_retired_r1"`}},
		{`ALTER SCHEMA prod RENAME TO Other`, []string{`ALTER SCHEMA "prod" RENAME TO "other"`}},
		{`ALTER SCHEMA "od""d" SWAP WITH "x.y"`, []string{
			`ALTER SCHEMA "od""d" RENAME TO "T"`, `ALTER SCHEMA "x.y" RENAME TO "od""d"`, `ALTER SCHEMA "T" RENAME TO "x.y"`}},
		{`ALTER CLUSTER "prod" SWAP WITH "prod_deploy"`, nil},
		{`ALTER SCHEMA "elsewhere"."prod" RENAME TO "x"`, nil},
		{`ALTER SCHEMA "a" RENAME TO "b"; DROP SCHEMA "c"`, nil},
		{`DROP SCHEMA "a"`, nil},
	}
	for _, c := range cases {
		got, err := w.translate([]string{c.statement})
		for i := range got {
			got[i] = temp.ReplaceAllString(got[i], "T")
		}
		if c.want == nil {
			if !errors.Is(err, ErrUnsupported) {
				t.Errorf("%s: %v, %v; want ErrUnsupported", c.statement, got, err)
			}
			continue
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, %v", c.statement, got, err)
		}
	}
}

package router

import (
	"errors"
	"strings"
	"testing"
)

// shop is a deployment with a schema and two clusters, one of them with a dash.
func shop() Deployment {
	return Deployment{
		Name: "shop", Database: "materialize",
		Schemas:  []Pair{{"prod", "prod_deploy"}},
		Clusters: []Pair{{"prod", "prod_deploy"}, {"prod-serve", "prod-serve_deploy"}},
		Salt:     42,
	}
}

func ads() Deployment {
	return Deployment{Name: "ads", Database: "materialize", Schemas: []Pair{{"ads", "ads_next"}}, Clusters: []Pair{{"ads", "ads_next"}}, Salt: 43}
}

func open(d Deployment) Deployment {
	d.Canary, d.Weight = CanaryDeploy, 5000
	return d
}

// from is a session with these settings in the right database.
func from(cluster string, path ...string) Login {
	return Login{User: "app", Database: "materialize", ApplicationName: "web", ClientAddress: "10.0.0.1", Connection: "c1", Settings: Settings{Cluster: cluster, Path: path}}
}

func TestBelonging(t *testing.T) {
	defaults := shop()
	defaults.Defaults = &Settings{Cluster: "prod", Path: []string{"prod", "public"}}
	schemaOnly := Deployment{Name: "pg", Schemas: []Pair{{"prod", "prod_deploy"}}}
	clusterOnly := Deployment{Name: "compute", Clusters: []Pair{{"prod", "prod_deploy"}}}
	elsewhere := from("prod", "prod")
	elsewhere.Database = "other"

	for _, c := range []struct {
		name   string
		among  []Deployment
		login  Login
		want   string // deployment, "" for unmanaged
		fixed  Fixed
		base   Settings
		reason string
	}{
		{"live schema and cluster", []Deployment{shop(), ads()}, from("prod", "prod", "public"),
			"shop", NotFixed, Settings{"prod", []string{"prod", "public"}}, "live names of shop"},
		{"the other deployment", []Deployment{shop(), ads()}, from("ads", "ads"), "ads", NotFixed, Settings{"ads", []string{"ads"}}, "live names of ads"},
		{"live schema, foreign cluster", []Deployment{shop()}, from("quickstart", "prod"), "shop", NotFixed, Settings{"quickstart", []string{"prod"}}, ""},
		{"a name with a dash", []Deployment{shop()}, from("prod-serve", "prod"), "shop", NotFixed, Settings{"prod-serve", []string{"prod"}}, ""},
		{"only the cluster is live", []Deployment{shop()}, from("prod", "public"), "shop", FixedByCluster, Settings{"prod", []string{"public"}}, "only its cluster is live"},
		{"a deployment of clusters alone", []Deployment{clusterOnly}, from("prod", "public"), "compute", NotFixed, Settings{"prod", []string{"public"}}, ""},
		{"a deployment of schemas alone", []Deployment{schemaOnly}, from("", "prod"), "pg", NotFixed, Settings{"", []string{"prod"}}, ""},
		{"own deploy names", []Deployment{shop()}, from("prod-serve_deploy", "prod_deploy", "public"),
			"shop", FixedByNames, Settings{"prod-serve", []string{"prod", "public"}}, "deploy names of shop"},
		{"defaults, nothing asked", []Deployment{defaults}, from("quickstart", "public"), "shop", NotFixed, Settings{"prod", []string{"prod", "public"}}, "routing.defaults"},
		{"defaults, as PostgreSQL reports them", []Deployment{defaults}, from("", "$user", "public"), "shop", NotFixed, Settings{"prod", []string{"prod", "public"}}, ""},
		{"defaults, something else asked", []Deployment{defaults}, from("quickstart", "reports"), "", NotFixed, Settings{"quickstart", []string{"reports"}}, "no live name"},

		{"nothing asked, no defaults", []Deployment{shop()}, from("quickstart", "public"), "", NotFixed, Settings{"quickstart", []string{"public"}}, "no live name of any deployment"},
		{"names of two deployments", []Deployment{shop(), ads()}, from("ads", "prod"), "", NotFixed, Settings{"ads", []string{"prod"}}, "two deployments, shop and ads"},
		{"live and deploy names mixed", []Deployment{shop()}, from("prod", "prod_deploy"), "", NotFixed, Settings{"prod", []string{"prod_deploy"}}, "mix live and deploy names of shop"},
		{"a live and a deploy schema", []Deployment{shop()}, from("", "prod", "prod_deploy"), "", NotFixed, Settings{"", []string{"prod", "prod_deploy"}}, "mix"},
		{"another database", []Deployment{shop()}, elsewhere, "", NotFixed, Settings{"prod", []string{"prod"}}, `connected to database "other" and not to "materialize"`},
		{"names are case-sensitive", []Deployment{shop()}, from("PROD", "Prod"), "", NotFixed, Settings{"PROD", []string{"Prod"}}, "no live name"},
		{"no deployment at all", nil, from("prod", "prod"), "", NotFixed, Settings{"prod", []string{"prod"}}, "no live name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := NewTable(c.among).Load()
			dec, err := s.Decide(c.login)
			if err != nil {
				t.Fatal(err)
			}
			if dec.Deployment != c.want || dec.Managed() != (c.want != "") || dec.Fixed != c.fixed || !dec.Base.Equal(c.base) {
				t.Errorf("deployment %q, fixed by %v, base %v (%s)", dec.Deployment, dec.Fixed, dec.Base, dec.Reason)
			}
			if dec.Reason == "" || !strings.Contains(dec.Reason, c.reason) {
				t.Errorf("reason %q, want something with %q", dec.Reason, c.reason)
			}
			if counted := c.want != "" && c.fixed == NotFixed; dec.Counted() != counted {
				t.Errorf("counted %v, want %v", dec.Counted(), counted)
			}
		})
	}
}

func TestPinsAndOptions(t *testing.T) {
	pinned := open(shop())
	pinned.Pins = []Pin{
		{User: "billing", ApplicationName: "nightly", Arm: Canary},
		{User: "billing", Arm: Stable},
		{Database: "materialize", ApplicationName: "e2e", Arm: Canary},
	}
	closed := pinned
	closed.Canary = CanaryClosed

	for _, c := range []struct {
		name    string
		in      Deployment
		cluster string
		path    string
		user    string
		app     string
		asked   string
		fixed   Fixed
		want    Arm
		refused string
	}{
		{"no pin matches", pinned, "prod", "prod", "app", "web", "", NotFixed, Stable, ""},
		{"by user", pinned, "prod", "prod", "billing", "web", "", FixedByPin, Stable, ""},
		{"the first pin that matches", pinned, "prod", "prod", "billing", "nightly", "", FixedByPin, Canary, ""},
		{"by application and database", pinned, "prod", "prod", "app", "e2e", "", FixedByPin, Canary, ""},
		{"a pin without a canary waits on stable", closed, "prod", "prod", "app", "e2e", "", FixedByPin, Stable, ""},
		{"the option beats a pin", pinned, "prod", "prod", "billing", "web", "canary", FixedByOption, Canary, ""},
		{"the option asks for stable", pinned, "prod", "prod", "app", "e2e", "stable", FixedByOption, Stable, ""},
		{"the option turns deploy names back", pinned, "prod_deploy", "prod_deploy", "app", "web", "stable", FixedByOption, Stable, ""},
		{"own names beat a pin", pinned, "prod_deploy", "prod_deploy", "billing", "web", "", FixedByNames, Canary, ""},
		{"no canary", closed, "prod", "prod", "app", "web", "canary", 0, 0, "has no canary now"},
		{"stable without a canary", closed, "prod", "prod", "app", "web", "stable", FixedByOption, Stable, ""},
		{"an arm that is none", pinned, "prod", "prod", "app", "web", "blue", 0, 0, `"blue" is neither stable nor canary`},
		{"only the cluster is live", pinned, "prod", "public", "app", "web", "canary", 0, 0, "only its cluster is live"},
		{"only the cluster is live, stable", pinned, "prod", "public", "app", "web", "stable", FixedByOption, Stable, ""},
		{"unmanaged", pinned, "quickstart", "public", "app", "web", "canary", 0, 0, "the session is unmanaged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := from(c.cluster, c.path)
			l.User, l.ApplicationName, l.AskedArm = c.user, c.app, c.asked
			s := NewTable([]Deployment{c.in}).Load()
			dec, err := s.Decide(l)
			if c.refused != "" {
				var none *NoCanaryError
				if !errors.As(err, &none) || none.Asked != c.asked || !strings.Contains(err.Error(), c.refused) {
					t.Fatalf("got %v, want a refusal with %q", err, c.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if dec.Fixed != c.fixed || (c.fixed != NotFixed && s.Deployments[0].Arm(&dec) != c.want) {
				t.Errorf("fixed by %v on %v, want %v on %v", dec.Fixed, s.Deployments[0].Arm(&dec), c.fixed, c.want)
			}
			if c.fixed != NotFixed && (dec.Counted() || s.Deployments[0].Share(&dec) != 0) {
				t.Error("a fixed session is counted")
			}
		})
	}
}

func TestKeys(t *testing.T) {
	l := from("prod", "prod")
	for key, want := range map[Key]string{KeyConnection: "c1", KeyUser: "app", KeyApplicationName: "web", KeyDatabase: "materialize", KeyClientAddress: "10.0.0.1"} {
		d := shop()
		d.Key = key
		dec, err := NewTable([]Deployment{d}).Load().Decide(l)
		if err != nil || dec.Key != want {
			t.Errorf("%v is %q, %v; want %q", key, dec.Key, err, want)
		}
		if back, ok := ParseKey(key.String()); !ok || back != key {
			t.Errorf("%v does not read back", key)
		}
	}
	if _, ok := ParseKey("colour"); ok {
		t.Error("colour is a key")
	}
}

// Whoever lacks the key is on stable at every weight: otherwise all who lack it
// would move at once.
func TestAMissingKeyIsStable(t *testing.T) {
	for _, keep := range []bool{false, true} {
		d := open(shop())
		d.Key, d.Keep, d.Weight = KeyApplicationName, keep, Full
		l := from("prod", "prod")
		l.ApplicationName = ""
		s := NewTable([]Deployment{d}).Load()
		dec, err := s.Decide(l)
		if err != nil {
			t.Fatal(err)
		}
		if s.Deployments[0].Arm(&dec) != Stable || dec.Arm != Stable || dec.Counted() {
			t.Errorf("keep=%v: on %v, decided %v, counted %v", keep, s.Deployments[0].Arm(&dec), dec.Arm, dec.Counted())
		}
	}
}

// loginOn finds a session that is on the canary at a weight and not below another.
func loginOn(t *testing.T, d Deployment, from_, to Weight) Login {
	t.Helper()
	l := from("prod", "prod")
	for i := range 100_000 {
		l.Connection = strings.Repeat("x", i%50) + string(rune('a'+i%26)) + string(rune('0'+i/26%10)) + string(rune('a'+i/260%26))
		if h := Hash(d.Salt, l.Connection); PickAt(h, from_) == Stable && PickAt(h, to) == Canary {
			return l
		}
	}
	t.Fatal("no such session")
	return l
}

func TestKeepAndMove(t *testing.T) {
	d := open(shop())
	d.Weight = 1000
	late := loginOn(t, d, 1000, 2000)
	early := loginOn(t, d, 0, 1000)

	at := func(keep bool, l Login, change func(*Deployment)) (Arm, Weight) {
		d := d
		d.Keep = keep
		table := NewTable([]Deployment{d})
		dec, err := table.Load().Decide(l)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := table.Update("shop", change); !ok {
			t.Fatal("no such deployment")
		}
		now := table.Load().Find("shop")
		return now.Arm(&dec), now.Share(&dec)
	}
	for _, c := range []struct {
		name       string
		change     func(*Deployment)
		l          Login
		move, keep Arm
		// the share under which the arm was chosen
		moveShare, keepShare Weight
	}{
		{"weight raised", func(d *Deployment) { d.Weight = 2000 }, late, Canary, Stable, 2000, 1000},
		{"weight lowered to nothing", func(d *Deployment) { d.Weight = 0 }, early, Stable, Canary, 0, 1000},
		{"canary closed", func(d *Deployment) { d.Canary = CanaryClosed }, early, Stable, Stable, 0, 0},
		{"another rollout, nobody on its canary yet", func(d *Deployment) { d.Salt, d.Weight = 99, 0 }, early, Stable, Stable, 0, 0},
		{"another rollout at full weight", func(d *Deployment) { d.Salt, d.Weight = 99, Full }, early, Canary, Stable, Full, 0},
		{"after a swap", func(d *Deployment) { d.Swaps++; d.Weight = Full }, early, Canary, Stable, Full, 0},
	} {
		if arm, share := at(false, c.l, c.change); arm != c.move || share != c.moveShare {
			t.Errorf("%s, move: %v at %v, want %v at %v", c.name, arm, share, c.move, c.moveShare)
		}
		if arm, share := at(true, c.l, c.change); arm != c.keep || share != c.keepShare {
			t.Errorf("%s, keep: %v at %v, want %v at %v", c.name, arm, share, c.keep, c.keepShare)
		}
	}
}

// What the arms mean while a rollout goes by: before, during, after the swap, and
// after the swap back.
func TestTargetThroughARollout(t *testing.T) {
	d := shop()
	table := NewTable([]Deployment{d})
	own := from("prod-serve_deploy", "prod_deploy", "public")
	live := from("prod-serve", "prod", "public")
	decide := func(l Login) Decision {
		dec, err := table.Load().Decide(l)
		if err != nil {
			t.Fatal(err)
		}
		return dec
	}
	liveNames := Settings{"prod-serve", []string{"prod", "public"}}
	deployNames := Settings{"prod-serve_deploy", []string{"prod_deploy", "public"}}
	plain, named := decide(live), decide(own)

	for _, step := range []struct {
		name   string
		change func(*Deployment)
		canary Settings // what the canary arm means to a session on live names
		named  Settings // what a session with deploy names of its own reads
		arm    Arm      // and which arm it is on
	}{
		{"no rollout", func(d *Deployment) {}, liveNames, deployNames, Canary},
		{"ramping", func(d *Deployment) { d.Canary, d.Weight = CanaryDeploy, Full }, deployNames, deployNames, Canary},
		{"about to commit", func(d *Deployment) { d.Canary = CanaryLive }, liveNames, liveNames, Canary},
		{"not committed after all", func(d *Deployment) { d.Canary = CanaryDeploy }, deployNames, deployNames, Canary},
		{"committed", func(d *Deployment) { d.Canary = CanaryLive; d.Swaps++ }, liveNames, liveNames, Stable},
		{"in the window", func(d *Deployment) { d.Canary, d.Weight = CanaryClosed, 0 }, liveNames, liveNames, Stable},
		{"swapped back", func(d *Deployment) { d.Swaps++ }, liveNames, liveNames, Stable},
		{"the next rollout", func(d *Deployment) { d.Canary, d.Salt = CanaryDeploy, 7 }, deployNames, liveNames, Stable},
	} {
		table.Update("shop", step.change)
		now := table.Load().Find("shop")
		if got := now.Target(&plain, Stable); !got.Equal(liveNames) {
			t.Errorf("%s: stable means %v", step.name, got)
		}
		if got := now.Target(&plain, Canary); !got.Equal(step.canary) {
			t.Errorf("%s: the canary means %v, want %v", step.name, got, step.canary)
		}
		if got := now.Target(&named, now.Arm(&named)); !got.Equal(step.named) {
			t.Errorf("%s: a session with deploy names reads %v, want %v", step.name, got, step.named)
		}
		if got := now.Arm(&named); got != step.arm {
			t.Errorf("%s: a session with deploy names is on %v, want %v", step.name, got, step.arm)
		}
	}

	// Who comes with deploy names now means what stands under them now.
	later := decide(own)
	if got := table.Load().Find("shop").Target(&later, Canary); !got.Equal(deployNames) {
		t.Errorf("a newcomer with deploy names reads %v", got)
	}
}

// A target is a copy: changing it does not reach the session's own settings.
func TestTargetSharesNothing(t *testing.T) {
	d := open(shop())
	dec := Decision{Deployment: "shop", Base: Settings{"prod", []string{"prod"}}}
	d.Target(&dec, Canary).Path[0] = "x"
	if dec.Base.Path[0] != "prod" {
		t.Error("the session's own search_path was changed")
	}
}

func TestMapsNames(t *testing.T) {
	d := shop()
	for _, c := range []struct {
		s    Settings
		want bool
	}{
		{Settings{"prod", nil}, true}, {Settings{"", []string{"x", "prod_deploy"}}, true},
		{Settings{"quickstart", []string{"public"}}, false}, {Settings{}, false},
	} {
		if d.MapsNames(c.s) != c.want {
			t.Errorf("%v: want %v", c.s, c.want)
		}
	}
	if d.Names() != "schema prod/prod_deploy cluster prod/prod_deploy cluster prod-serve/prod-serve_deploy" {
		t.Errorf("names %q", d.Names())
	}
}

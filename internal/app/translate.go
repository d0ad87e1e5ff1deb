package app

import (
	"slices"
	"strings"

	"mzcanary/config"
	"mzcanary/deploy"
	"mzcanary/router"
)

// pairs translates configured pairs.
func pairs(in []config.Pair) []router.Pair {
	out := make([]router.Pair, len(in))
	for i, p := range in {
		out[i] = router.Pair{Live: p.Live, Deploy: p.Deploy}
	}
	return out
}

// routerDeployment is a deployment as the router starts with it: closed, weight
// 0, everybody on live names until the controller has recovered.
func routerDeployment(d *config.Deployment) router.Deployment {
	key, _ := router.ParseKey(string(d.Routing.Key)) // the configuration admits only known keys
	out := router.Deployment{
		Name:     d.Name,
		Database: d.Database,
		Schemas:  pairs(d.Schemas),
		Clusters: pairs(d.Clusters),
		Key:      key,
		Keep:     d.Routing.LiveSessions == config.LiveSessionsKeep,
	}
	out.KeepNamed = slices.Contains(d.Accept, deploy.AcceptShapeChange)
	for _, p := range d.Routing.Pins {
		pin := router.Pin{User: p.User, ApplicationName: p.ApplicationName, Database: p.Database}
		if p.Arm == config.ArmCanary {
			pin.Arm = router.Canary
		}
		out.Pins = append(out.Pins, pin)
	}
	if def := d.Routing.Defaults; !def.Empty() {
		out.Defaults = &router.Settings{Cluster: def.Cluster, Path: def.SearchPath}
	}
	return out
}

// spec is a deployment as the controller releases it.
func spec(d *config.Deployment) deploy.Spec {
	out := deploy.Spec{Name: d.Name, Database: d.Database, Schemas: pairs(d.Schemas), Clusters: pairs(d.Clusters), Accept: d.Accept, Method: string(d.Promote.Method)}
	for _, o := range d.Objects {
		out.Objects = append(out.Objects, deploy.ObjectPair{Type: strings.ReplaceAll(string(o.Kind), "_", "-"), Live: o.Live, Deploy: o.Deploy})
	}
	return out
}

// plan translates the configured plan with all its policies.
func plan(d *config.Deployment) deploy.Plan {
	r := d.Rollout
	out := deploy.DefaultPlan()
	out.Minimum = deploy.Minimum{Units: r.Minimum.Units, Exchanges: r.Minimum.Exchanges}
	out.Ready = deploy.ReadyPlan{MaxLag: r.Ready.MaxLag, Within: r.Ready.Within, Poll: r.Ready.Poll,
		Consecutive: r.Ready.Consecutive, AllReplicas: r.Ready.AllReplicas, Probe: r.Ready.Probe}
	out.Judge.Alpha = r.Judge.Alpha
	out.OnRegress = deploy.Policy(r.OnRegress)
	out.OnUndecided = deploy.Policy(r.OnUndecided)
	out.OnInsufficient = deploy.Policy(r.OnInsufficient)
	out.OnRollback = deploy.OnRollback{CancelAfter: r.OnRollback.CancelAfter, EndStreamsAfter: r.OnRollback.EndStreamsAfter}
	p := d.Promote
	out.Promote = deploy.PromotePlan{Method: string(p.Method), Fence: p.Fence, Gather: p.Gather, MaxStall: p.MaxStall,
		Attempts: p.Attempts, Patience: p.Patience, Stragglers: string(p.Stragglers)}
	out.Window = deploy.WindowPlan{For: d.Window.For}
	out.Drain.For, out.Drain.Then = d.Drain.For, string(d.Drain.Then)
	return WithSteps(out, r.Plan)
}

// WithSteps puts the steps of a resolved plan into a plan of the controller; its
// policies stay.
func WithSteps(out deploy.Plan, p config.Plan) deploy.Plan {
	out.Name, out.Steps = p.Name, nil
	for _, s := range p.Steps {
		step := deploy.PlanStep{Weight: router.Weight(s.Weight), Bake: s.Bake, Until: string(s.Until), Within: s.Within,
			Promote: s.Kind == config.StepPromote}
		if s.Approve.Asked() {
			step.Approve = &deploy.Approve{Within: s.Approve.Within}
		}
		out.Steps = append(out.Steps, step)
	}
	return out
}

package app

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"time"

	"mzcanary/config"
	"mzcanary/deploy"
	"mzcanary/internal/armstats"
	"mzcanary/internal/mz"
	"mzcanary/proxy"
)

// build puts the parts together.
func (a *App) build() error {
	table := a.table()
	stats := armstats.NewSet(a.names())
	kind := proxy.Materialize
	if a.cfg.Upstream.Kind == config.KindPostgres {
		kind = proxy.Postgres
	}
	a.proxy = proxy.New(proxy.Config{
		Table:              table,
		Stats:              stats,
		Dial:               a.up.dial,
		Kind:               kind,
		ClientTLS:          a.certs.clientTLS(),
		ClientTLSRequired:  a.cfg.Listen.TLS.Required,
		ClientCertRequired: a.cfg.Listen.TLS.ClientAuth == config.ClientAuthRequire,
		ForwardedFor:       a.cfg.Upstream.ForwardedFor,
		Limits:             proxy.Limits{MaxSessions: a.cfg.Limits.MaxSessions, PerUser: a.cfg.Limits.PerUser, Startup: a.cfg.Limits.Startup},
		ClientSet:          a.clientSet,
		QualifiedNames:     a.qualifiedNames,
		Log:                a.log,
		Unsafe:             a.opts.Unsafe,
	})
	a.mz = newWarehouse(a.cfg, a.up, a.log)
	var err error
	a.ctl, err = deploy.New(deploy.Options{
		Warehouse:   a.mz,
		Traffic:     &traffic{table: table, proxy: a.proxy, stats: stats, clock: time.Now},
		Store:       a.store,
		Deployments: a.deployments(),
		Log:         a.log,
		Observer:    a.metrics(stats),
		Tick:        a.opts.Tick,
		Watch:       a.opts.Watch,
	})
	return err
}

func (a *App) deployments() []deploy.DeploymentConfig {
	var list []deploy.DeploymentConfig
	for i := range a.cfg.Deployments {
		d := &a.cfg.Deployments[i]
		p := plan(d)
		if a.opts.Settle > 0 {
			p.Drain.Settle = a.opts.Settle
		}
		list = append(list, deploy.DeploymentConfig{Spec: spec(d), Plan: p})
	}
	return list
}

// newWarehouse makes the control connections' adapter. TLS is part of dialling,
// the same for control connections as for sessions; the password is read again
// for every connection, so that it can be rotated.
func newWarehouse(cfg *config.Config, up *upstream, log *slog.Logger) *mz.Warehouse {
	return mz.New(mz.Config{
		Kind:     string(cfg.Upstream.Kind),
		Address:  cfg.Upstream.Address,
		User:     cfg.Control.User,
		Database: cfg.Control.Database,
		Password: func() (string, error) {
			secret, err := cfg.Control.Password()
			if err != nil {
				return "", err
			}
			return secret.Reveal(), nil
		},
		PasswordFrom: passwordFrom(cfg.Control),
		DialTimeout:  cfg.Upstream.DialTimeout,
		Dial:         func(ctx context.Context, _, _ string) (net.Conn, error) { return up.dial(ctx) },
		Log:          log,
	})
}

// passwordFrom says where the control password is to be corrected.
func passwordFrom(c config.Control) string {
	if c.PasswordFile != "" {
		return "control.password_file " + c.PasswordFile + ", which is read at every connect"
	}
	return "the environment variable " + cmp.Or(c.PasswordEnv, config.DefaultPasswordEnv) + " (control.password_env) and restart mzcanary, or use control.password_file, which is read at every connect"
}

func (a *App) qualifiedNames(deployment string) proxy.QualifiedNames {
	if d := a.cfg.Deployment(deployment); d != nil && d.Routing.QualifiedNames == config.QualifiedCount {
		return proxy.CountQualified
	}
	return proxy.PinQualified
}

func (a *App) clientSet(deployment string) proxy.ClientSet {
	if d := a.cfg.Deployment(deployment); d != nil && d.Routing.ClientSet == config.ClientSetRelease {
		return proxy.ReleaseClientSet
	}
	return proxy.MapClientSet
}

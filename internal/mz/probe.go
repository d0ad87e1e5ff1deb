package mz

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"mzcanary/deploy"
)

// probe reads one row of each relation of the new version the way a canary session
// would: over a connection of its own, on the cluster and with the search_path of the
// canary. A SELECT on a cluster that cannot answer waits for ever, so every one has
// our own deadline; when it passes, the statement is canceled and the connection cut.
// The first failure of a cluster is enough. What fails is written into r; an error
// means that the server could not be asked at all.
func (w *Warehouse) probe(ctx context.Context, spec deploy.Spec, s *sample, timeout time.Duration, r *deploy.Readiness) error {
	for _, c := range s.clusters {
		failed, err := w.probeCluster(ctx, spec, c, timeout)
		if err != nil {
			return err
		}
		if failed.why == "" {
			continue
		}
		r.Ready, r.Why = false, fmt.Sprintf("probe of %s on cluster %s: %s", failed.name, c.name, failed.why)
		for i := range r.Objects {
			if r.Objects[i].Cluster == c.name && r.Objects[i].ID == failed.id {
				r.Objects[i].State, r.Objects[i].Why = stateUnreachable, "probe: "+failed.why
			}
		}
		return nil
	}
	return nil
}

// probeFailure names the relation that did not answer; why is "" if all did.
type probeFailure struct{ id, name, why string }

func (w *Warehouse) probeCluster(ctx context.Context, spec deploy.Spec, c clusterSample, timeout time.Duration) (probeFailure, error) {
	conn, err := w.open(ctx, canarySettings(spec, c.name))
	if err != nil {
		return probeFailure{}, err
	}
	defer w.goodbye(conn.pg)
	done := map[string]bool{}
	for _, d := range append(c.dataflows, c.readable...) {
		relation := quoteIdent(d.database) + "." + quoteIdent(d.relationSchema) + "." + quoteIdent(d.relation)
		if done[relation] {
			continue
		}
		done[relation] = true
		if err := w.probeOne(ctx, conn, relation, timeout); err != nil {
			if ctx.Err() != nil {
				return probeFailure{}, w.unavailable(ctx, fmt.Errorf("probing %s: %w", relation, err))
			}
			return probeFailure{id: d.id, name: d.relationSchema + "." + d.relation, why: err.Error()}, nil
		}
	}
	return probeFailure{}, nil
}

func (w *Warehouse) probeOne(ctx context.Context, conn *connection, relation string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	stop := context.AfterFunc(w.closing, cancel)
	defer stop()
	_, err := conn.exec(ctx, "SELECT * FROM "+relation+" LIMIT 1")
	switch pgErr := answered(err); {
	case err == nil:
		return nil
	case pgErr != nil:
		return &refusal{pgErr}
	case ctx.Err() != nil:
		return fmt.Errorf("no answer within %s", timeout)
	}
	return errors.New("the connection was lost: " + err.Error())
}

// canarySettings are what a canary session of the deployment has.
func canarySettings(spec deploy.Spec, cluster string) map[string]string {
	path := make([]string, len(spec.Schemas))
	for i, p := range spec.Schemas {
		path[i] = quoteIdent(p.Deploy)
	}
	settings := map[string]string{"database": spec.Database, "search_path": strings.Join(path, ", ")}
	if cluster != "" {
		settings["cluster"] = cluster
		settings["options"] = "--welcome_message=off"
	}
	return settings
}

package sim

import (
	"cmp"
	"slices"
	"time"

	"mzcanary/internal/sim/sql"
)

// internalRelations tell how things are right now: hydration, lag, replicas, sessions.
func internalRelations() []*systemRelation {
	return []*systemRelation{
		live("mz_internal", "mz_hydration_statuses", "object_id text, replica_id text?, hydrated bool?", hydrationRows),
		live("mz_internal", "mz_compute_hydration_statuses", "object_id text, replica_id text, hydrated bool, hydration_time interval?", computeHydrationRows),
		live("mz_internal", "mz_materialization_lag", "object_id text, local_lag interval?, global_lag interval?, slowest_local_input_id text?, slowest_global_input_id text?", materializationLagRows),
		live("mz_internal", "mz_wallclock_global_lag", "object_id text, lag interval?", wallclockLagRows),
		live("mz_internal", "mz_frontiers", "object_id text, read_frontier mz_timestamp?, write_frontier mz_timestamp?", frontierRows),
		live("mz_internal", "mz_cluster_replica_statuses", "replica_id text, process_id uint8, status text, reason text?, updated_at timestamptz", replicaStatusRows),
		live("mz_internal", "mz_cluster_replica_status_history", "replica_id text, process_id uint8, status text, reason text?, occurred_at timestamptz", replicaHistoryRows),
		live("mz_internal", "mz_sessions", "id uuid, connection_id uint4, role_id text, client_ip text?, connected_at timestamptz", sessionRows),
		live("mz_internal", "mz_subscriptions", "id text, session_id uuid, cluster_id text, created_at timestamptz, referenced_object_ids text list", subscriptionRows),
		activityLog(),
	}
}

// activityLog exists to be refused to whom it is not for; the simulator logs no statements.
func activityLog() *systemRelation {
	r := live("mz_internal", "mz_recent_activity_log", "execution_id uuid, sample_rate float8, cluster_id text?, application_name text, cluster_name text?, "+
		"database_name text, search_path text list, transaction_isolation text, execution_timestamp uint8?, transient_index_id text?, "+
		"params text[], mz_version text, began_at timestamptz, finished_at timestamptz?, finished_status text?, error_message text?, "+
		"result_size int8?, rows_returned int8?, execution_strategy text?, transaction_id uint8, prepared_statement_id uuid, sql_hash bytea, "+
		"prepared_statement_name text, session_id uuid, prepared_at timestamptz, statement_type text?, throttled_count uint8, "+
		"connected_at timestamptz, initial_application_name text, authenticated_user text, sql text", nil)
	r.restricted = true
	r.rows = func(*resolver) ([][]sql.Value, error) {
		return nil, refuse("there is no statement log to read")
	}
	return r
}

// eachFlow calls f for every user dataflow with its cluster.
func eachFlow(r *resolver, f func(o *object, c *cluster)) {
	for _, o := range r.cat.sortedObjects() {
		if c := r.cat.clusters[o.cluster]; c != nil && o.kind.dataflow() {
			f(o, c)
		}
	}
}

// introspection are the per-replica system indexes: they are there and hydrated as soon as the replica is.
var introspection = [...]string{"si1", "si2", "si3"}

func hydrationRows(r *resolver) (rows [][]sql.Value) {
	eachFlow(r, func(o *object, c *cluster) {
		reported := false
		for _, rep := range c.replicas {
			if h, ok := r.server.hydrated(o, rep, r.eval.now); ok {
				reported = true
				rows = append(rows, []sql.Value{o.id, rep.id, h})
			}
		}
		if !reported {
			rows = append(rows, []sql.Value{o.id, nil, false})
		}
	})
	for _, id := range sortedIDs(r.cat.clusters) {
		for _, rep := range r.cat.clusters[id].replicas {
			for _, si := range introspection {
				rows = append(rows, []sql.Value{si, rep.id, true})
			}
		}
	}
	return rows
}

func computeHydrationRows(r *resolver) (rows [][]sql.Value) {
	eachFlow(r, func(o *object, c *cluster) {
		if o.kind != kindIndex && o.kind != kindMatView {
			return
		}
		for _, rep := range c.replicas {
			h, ok := r.server.hydrated(o, rep, r.eval.now)
			switch {
			case ok && h:
				rows = append(rows, []sql.Value{o.id, rep.id, true, intervalOf(r.server.o.HydrationTime)})
			case ok:
				rows = append(rows, []sql.Value{o.id, rep.id, false, nil})
			}
		}
	})
	return rows
}

func intervalOf(d time.Duration) sql.Interval { return sql.Interval{Micros: d.Microseconds()} }

// anyHydrated says whether some replica has the dataflow.
func anyHydrated(r *resolver, o *object, c *cluster) bool {
	return slices.ContainsFunc(c.replicas, func(rep replica) bool {
		h, _ := r.server.hydrated(o, rep, r.eval.now)
		return h
	})
}

// inputs are the tables and sources a dataflow reads in the end; none means that it is constant.
func (c *catalog) inputs(o *object) (ids []string) {
	for _, id := range sortedIDs(c.closure(o.deps)) {
		if d := c.objects[id]; d != nil && (d.kind == kindTable || d.kind == kindSource) {
			ids = append(ids, id)
		}
	}
	return ids
}

// materializationLagRows leaves out constant dataflows: they have no inputs and no row.
func materializationLagRows(r *resolver) (rows [][]sql.Value) {
	eachFlow(r, func(o *object, c *cluster) {
		inputs := r.cat.inputs(o)
		if len(inputs) == 0 || o.kind != kindIndex && o.kind != kindMatView {
			return
		}
		lag, known := r.server.lagOf(o, c, r.eval.now)
		if !known || !anyHydrated(r, o, c) {
			rows = append(rows, []sql.Value{o.id, nil, nil, o.deps[0], inputs[0]})
			return
		}
		rows = append(rows, []sql.Value{o.id, intervalOf(lag), intervalOf(lag), o.deps[0], inputs[0]})
	})
	return rows
}

// wallclockLagRows: written once a minute, so that a new object has none; what was written last is up to a minute old.
func wallclockLagRows(r *resolver) (rows [][]sql.Value) {
	minute := r.eval.now.Truncate(time.Minute)
	eachFlow(r, func(o *object, c *cluster) {
		if !minute.After(o.since) {
			return
		}
		lag, known := r.server.lagOf(o, c, minute)
		if !known || !anyHydrated(r, o, c) {
			rows = append(rows, []sql.Value{o.id, nil})
			return
		}
		rows = append(rows, []sql.Value{o.id, intervalOf(max(lag, time.Second).Truncate(time.Second))})
	})
	return rows
}

func frontierRows(r *resolver) (rows [][]sql.Value) {
	now := r.eval.now.UnixMilli()
	for _, o := range r.cat.sortedObjects() {
		if o.sys != nil || o.kind == kindView || !o.kind.relation() && !o.kind.dataflow() {
			continue
		}
		lag := time.Duration(0)
		if c := r.cat.clusters[o.cluster]; c != nil {
			known := false
			if lag, known = r.server.lagOf(o, c, r.eval.now); !known || !anyHydrated(r, o, c) {
				rows = append(rows, []sql.Value{o.id, int64(0), int64(0)})
				continue
			}
			if o.kind == kindMatView && len(r.cat.inputs(o)) == 0 {
				rows = append(rows, []sql.Value{o.id, int64(0), nil})
				continue
			}
		}
		write := now + 1 - lag.Milliseconds()
		rows = append(rows, []sql.Value{o.id, max(0, write-1000), write})
	}
	return rows
}

func replicaStatusRows(r *resolver) (rows [][]sql.Value) {
	for _, id := range sortedIDs(r.cat.clusters) {
		for _, rep := range r.cat.clusters[id].replicas {
			state := r.server.health.replicaState(rep.id)
			row := []sql.Value{rep.id, int64(0), "online", nil, rep.since.UTC()}
			if state.offline {
				row[2], row[3], row[4] = "offline", orNull(state.reason), state.since.UTC()
			}
			rows = append(rows, row)
		}
	}
	return rows
}

func replicaHistoryRows(r *resolver) (rows [][]sql.Value) {
	h := &r.server.health
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.history {
		rows = append(rows, []sql.Value{e.replica, int64(0), e.status, orNull(e.reason), e.at.UTC()})
	}
	return rows
}

func sessionRows(r *resolver) (rows [][]sql.Value) {
	s := r.server
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, se := range s.sessions {
		rows = append(rows, []sql.Value{se.uuid, int64(se.id), se.role, orNull(se.clientIP), se.since.UTC()})
	}
	slices.SortFunc(rows, func(a, b []sql.Value) int { return cmp.Compare(a[1].(int64), b[1].(int64)) })
	return rows
}

func subscriptionRows(r *resolver) (rows [][]sql.Value) {
	s := r.server
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.live {
		if !l.subscribe {
			continue
		}
		ids := []sql.Value{}
		for _, id := range l.ids {
			ids = append(ids, id)
		}
		rows = append(rows, []sql.Value{l.id, l.session.uuid, l.cluster, time.UnixMilli(int64(l.since)).UTC(), ids})
	}
	slices.SortFunc(rows, func(a, b []sql.Value) int { return cmpID(a[0].(string), b[0].(string)) })
	return rows
}

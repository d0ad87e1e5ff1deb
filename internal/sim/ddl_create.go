package sim

import (
	"strconv"

	"mzcanary/internal/sim/sql"
)

// createContainer makes what holds or runs objects, and roles.
func (x *ddl) createContainer(stmt sql.Statement) error {
	switch st := stmt.(type) {
	case *sql.CreateDatabase:
		return x.createDatabase(st)
	case *sql.CreateSchema:
		return x.createSchema(st)
	case *sql.CreateCluster:
		return x.createCluster(st)
	case *sql.CreateClusterReplica:
		return x.createReplica(st)
	case *sql.CreateRole:
		return x.createRole(st)
	}
	return refuse("%s is not supported", stmt.Tag())
}

// exists is the answer to creating something that is there: an error, or with IF NOT EXISTS a notice.
func (x *ddl) exists(ifNot bool, code, kind, name string, err error) error {
	if !ifNot {
		return err
	}
	x.notice(code, "%s %q already exists, skipping", kind, name)
	return errSkipped
}

func (x *ddl) createDatabase(st *sql.CreateDatabase) error {
	if err := x.needSystem(privCreateDB); err != nil {
		return err
	}
	if x.databaseByName(st.Name) != nil {
		return x.exists(st.IfNotExists, "42P04", "database", st.Name, failf("XX000", "database '%s' already exists", st.Name))
	}
	db := x.addDatabase(st.Name, x.by.role)
	x.addSchema(db.id, "public", x.by.role)
	return nil
}

func (x *ddl) createSchema(st *sql.CreateSchema) error {
	dbName := x.by.scope.database
	if len(st.Name) == 2 {
		dbName = st.Name[0]
	}
	db := x.databaseByName(dbName)
	if db == nil {
		return failf("XX000", "unknown database '%s'", dbName)
	}
	if err := x.need(db.acl, privCreate, "DATABASE", db.name); err != nil {
		return err
	}
	name := st.Name.Item()
	if reservedName(name) {
		return &sql.Error{Code: "XX000", Message: "unacceptable schema name '" + name + "'",
			Detail: `The prefixes "mz_" and "pg_" are reserved for system schemas.`}
	}
	if x.schemaIn(db.id, name) != nil {
		return x.exists(st.IfNotExists, "42P06", "schema", name, failf("XX000", "schema '%s' already exists", name))
	}
	x.addSchema(db.id, name, x.by.role)
	return nil
}

func (x *ddl) createCluster(st *sql.CreateCluster) error {
	if err := x.needSystem(privCreateCluster); err != nil {
		return err
	}
	if reservedName(st.Name) {
		return &sql.Error{Code: "XX000", Message: "cluster name " + strconv.Quote(st.Name) + " is reserved",
			Detail: `The prefixes "mz_" and "pg_" are reserved for system clusters.`}
	}
	if x.clusterByName(st.Name) != nil {
		return x.exists(st.IfNotExists, "42710", "cluster", st.Name, failf("XX000", "cluster '%s' already exists", st.Name))
	}
	if st.Unmanaged {
		x.addCluster(st.Name, x.by.role, "", 0, false, st.Replicas)
		return nil
	}
	if st.Size == "" {
		return failf("XX000", "SIZE option must be specified")
	}
	factor := st.ReplicationFactor
	if factor < 0 {
		factor = 1
	}
	x.addCluster(st.Name, x.by.role, st.Size, factor, true, nil)
	return nil
}

func (x *ddl) createReplica(st *sql.CreateClusterReplica) error {
	c, err := x.findCluster(st.Cluster)
	if err != nil {
		return err
	}
	if err := x.mustOwn(x.ownedCluster(c)); err != nil {
		return err
	}
	if c.managed {
		return failf("XX000", "cannot modify managed cluster %s", c.name)
	}
	for _, r := range c.replicas {
		if r.name == st.Replica.Name {
			return failf("XX000", "cannot create multiple replicas named '%s' on cluster '%s'", r.name, c.name)
		}
	}
	own := *c
	x.addReplica(&own, st.Replica.Name, st.Replica.Size)
	x.clusters[own.id] = &own
	return nil
}

func (x *ddl) createRole(st *sql.CreateRole) error {
	if err := x.needSystem(privCreateRole); err != nil {
		return err
	}
	if reservedName(st.Name) || st.Name == "public" {
		return failf("42939", "role name %q is reserved", st.Name)
	}
	if x.roleByName(st.Name) != nil {
		return failf("XX000", "role '%s' already exists", st.Name)
	}
	super, login := false, false
	for _, o := range st.Options {
		switch o.Name {
		case "SUPERUSER":
			super = true
		case "LOGIN":
			login = true
		case "INHERIT", "NOSUPERUSER", "NOLOGIN":
		case "PASSWORD":
		default:
			return refuse("CREATE ROLE option %s is not supported", o.Name)
		}
	}
	if super && !x.superuser() {
		return failf("42501", "permission denied to create superuser role")
	}
	x.addRole(st.Name, login, super)
	return nil
}

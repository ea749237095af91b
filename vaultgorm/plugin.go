package vaultgorm

import (
	"fmt"
	"sync"

	"github.com/embedvault/vault"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/schema"
)

// Plugin seals the encrypted fields of models when GORM writes them, fills the columns
// of their blind indexes, binds what GORM reads to its place, and refuses statements
// that would store something else in an encrypted column.
//
//	err := db.Use(vaultgorm.Plugin{Vault: v, Models: []any{&User{}}})
//
// One plugin serves one *gorm.DB and all its sessions, from as many goroutines as
// there are; another *gorm.DB has a plugin, and perhaps a vault, of its own. Use it
// right after gorm.Open, before the first statement and before AutoMigrate.
type Plugin struct {
	// Vault seals and opens the fields. nil: the vault of [vault.WithVault] in the
	// statement's ctx. It isn't closed.
	Vault *vault.Vault

	// Models are pointers to models, to be checked by Use. Those that aren't given are
	// checked when they are first used; give them all, so that a mistake is seen at
	// start-up, and that db.Table(…) without a model knows their encrypted columns.
	Models []any

	// Eager opens all fields that a query has read, in the query, for programs that
	// show them all. A field that can't be opened doesn't fail the query: it stays
	// sealed, its Open says why, and [OpenError] tells of all of them. [Eager] does it
	// for one query.
	Eager bool
}

// Name is of [gorm.Plugin].
func (Plugin) Name() string { return "vault" }

// Initialize is of [gorm.Plugin]. Its error, and so that of db.Use, matches
// [vault.ErrModel] if one of Models is wrong: it names the field and says what to do.
func (p Plugin) Initialize(db *gorm.DB) error {
	if err := registerSerializer(); err != nil {
		return err
	}
	in := &plugin{vault: p.Vault, eager: p.Eager}
	for _, m := range p.Models {
		stmt := &gorm.Statement{DB: db}
		if err := stmt.Parse(m); err != nil {
			return fmt.Errorf("vaultgorm: model %T: %w", m, err)
		}
		if err := in.model(db, stmt.Schema).writable(); err != nil {
			return err
		}
	}
	in.wrap(db, "VALUES", in.buildValues)
	in.wrap(db, "SET", in.buildSet)
	in.wrap(db, "ON CONFLICT", in.buildConflict)
	in.wrap(db, "WHERE", in.buildWhere)
	if err := in.register(db); err != nil {
		return fmt.Errorf("vaultgorm: %w", err)
	}
	db.Plugins[in.Name()] = in
	return nil
}

// plugin is what the callbacks of one *gorm.DB share.
type plugin struct {
	vault  *vault.Vault
	eager  bool
	models sync.Map // *schema.Schema → *model
	tables tables
}

// Name and Initialize let the expressions of this package find it among the plugins.
func (*plugin) Name() string { return "vault:plugin" }

func (*plugin) Initialize(*gorm.DB) error { return nil }

// pluginOf returns the plugin of a *gorm.DB.
func pluginOf(db *gorm.DB) (*plugin, error) {
	p, ok := db.Plugins[(*plugin)(nil).Name()].(*plugin)
	if !ok {
		return nil, fmt.Errorf("vaultgorm: %w", ErrNoPlugin)
	}
	return p, nil
}

// register puts the callbacks in their places. Sealing is done in the clauses, at the
// moment when GORM builds its SQL: there everything that is going to be stored passes,
// whichever way it came, and once. What comes after, such as the logger, sees sealed
// bytes.
func (p *plugin) register(db *gorm.DB) error {
	cb := db.Callback()
	for _, err := range []error{
		cb.Create().Before("gorm:create").Register("vault:before_create", p.beforeCreate),
		cb.Create().After("gorm:create").Before("gorm:save_after_associations").Register("vault:after_create", p.afterWrite),
		cb.Update().After("gorm:save_before_associations").Before("gorm:update").Register("vault:before_update", p.beforeUpdate),
		cb.Update().After("gorm:update").Before("gorm:save_after_associations").Register("vault:after_update", p.afterWrite),
		cb.Delete().Before("gorm:delete").Register("vault:before_delete", p.beforeDelete),
		cb.Delete().After("gorm:delete").Before("gorm:after_delete").Register("vault:after_delete", p.afterWrite),
		cb.Query().Before("gorm:query").Register("vault:before_query", p.beforeQuery),
		cb.Query().After("gorm:query").Before("gorm:preload").Register("vault:after_query", p.afterQuery),
		cb.Query().After("gorm:preload").Before("gorm:after_query").Register("vault:open", p.openAll),
		cb.Row().Before("gorm:row").Register("vault:before_row", p.beforeRow),
		cb.Raw().Before("gorm:raw").Register("vault:before_raw", p.beforeRow),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

// wrap puts build before what builds a clause now: the dialect's, or the clause's own.
// build returns false if the clause must not be built.
func (p *plugin) wrap(db *gorm.DB, name string, build func(*gorm.Statement, *clause.Clause) bool) {
	next := db.ClauseBuilders[name]
	if next == nil {
		next = func(c clause.Clause, b clause.Builder) { c.Build(b) }
	}
	db.ClauseBuilders[name] = func(c clause.Clause, b clause.Builder) {
		if stmt, ok := b.(*gorm.Statement); ok && !build(stmt, &c) {
			return
		}
		next(c, b)
	}
}

var _ schema.SerializerInterface = Serializer{}

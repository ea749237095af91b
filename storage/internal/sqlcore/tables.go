package sqlcore

// The tables, once for all dialects. Versions of the schema are numbered; what
// a number means never changes once it was released.
//
//	contexts       key contexts, each once, never changed nor removed
//	context_pairs  their pairs, for "all contexts that contain this pair"
//	keys           wrapped context keys
//	objects        one row per object: its name, and which version is current
//	versions       one row per version, the sealed value included
//	system         the vault's own small records
//	schema_version the version of the schema
//
// In an index each query finds its rows as one range, in the order of the list.

// schemaVersion is the version that this package makes and works with.
const schemaVersion = 1

// column is a column's name, kind, and comment. A kind that ends in ? may be
// NULL.
type column struct{ name, kind, comment string }

type index struct {
	name    string
	unique  bool
	columns string
	where   string // of a partial index, where the dialect has those
}

type table struct {
	name    string
	comment string
	columns []column
	primary string
	foreign []reference
	indexes []index
}

// reference is a foreign key to the column of the same name.
type reference struct {
	column, table string
	cascade       bool
}

var tables = []table{
	{
		name: "contexts", comment: "key contexts (whose data it is); rows are never changed nor removed",
		columns: []column{
			{"context_hash", "hash", "SHA-256 of canonical"},
			{"namespace", "text1024", "UTF-8; empty: none"},
			{"canonical", "blob", "canonical encoding of all pairs (docs/SPEC.md)"},
		},
		primary: "context_hash",
		indexes: []index{{name: "namespace", columns: "namespace, context_hash"}},
	},
	{
		name: "context_pairs", comment: "the pairs of key contexts, one row each",
		columns: []column{
			{"pair_key", "name128", "such as organization_id"},
			{"pair_value", "text1024", "UTF-8"},
			{"namespace", "text1024", "as in contexts"},
			{"context_hash", "hash", "the context that has the pair"},
		},
		primary: "pair_key, pair_value, namespace, context_hash",
		foreign: []reference{{column: "context_hash", table: "contexts"}},
		indexes: []index{{name: "any_namespace", columns: "pair_key, pair_value, context_hash"}},
	},
	{
		name: "keys", comment: "context keys, wrapped by key-encryption keys",
		columns: []column{
			{"key_id", "hash", "commitment to the key; its name in envelopes"},
			{"context_hash", "hash", "the context that the key belongs to"},
			{"purpose", "small", "1 data, 2 index, 3 wrapping, 4 authentication"},
			{"version", "int", "from 1; the highest of a context and purpose is the active one"},
			{"state", "small", "1 active, 2 decrypt-only, 3 disabled, 4 shredded"},
			{"state_before", "small", "of a disabled key: what it was; else 0"},
			{"wrappings", "blob16m", "how the key is wrapped, now and before"},
			{"parent_id", "hash?", "the context key that wraps this one; null: key-encryption keys do"},
			{"created_at", "time", "when the key was made"},
			{"state_changed_at", "time", "since when it has its state"},
			{"rewrapped_at", "time?", "when it was last wrapped anew; null: never"},
			{"revision", "int", "raised by every update"},
		},
		primary: "key_id",
		foreign: []reference{{column: "context_hash", table: "contexts"}},
		indexes: []index{
			{name: "version", unique: true, columns: "context_hash, purpose, version"},
			{name: "parent", columns: "parent_id, context_hash, purpose, version", where: "parent_id IS NOT NULL"},
		},
	},
	{
		name: "objects", comment: "named objects: which version is current",
		columns: []column{
			{"object_id", "id", "UUID, version 7"},
			{"context_hash", "hash", "the context that the object belongs to"},
			{"namespace", "text1024", "that context's"},
			{"name", "name512", "bytes, usually UTF-8; unique in the context"},
			{"unique_name", "name512?", "the name, if it is unique in the namespace; else null"},
			{"number", "int", "the current version's number"},
			{"version_id", "id", "the current version's ID"},
			{"created_at", "time", "when the first version was put"},
			{"updated_at", "time", "when the current version was put"},
			{"expires_at", "time?", "from when on the object reads as absent; null: never"},
		},
		primary: "object_id",
		foreign: []reference{{column: "context_hash", table: "contexts"}},
		indexes: []index{
			{name: "name", unique: true, columns: "context_hash, name"},
			{name: "unique_name", unique: true, columns: "namespace, unique_name", where: "unique_name IS NOT NULL"},
			{name: "updated", columns: "context_hash, updated_at, object_id"},
			{name: "expires", columns: "namespace, expires_at", where: "expires_at IS NOT NULL"},
		},
	},
	{
		name: "versions", comment: "versions of objects, sealed",
		columns: []column{
			{"object_id", "id", "the object"},
			{"number", "int", "from 1; the highest is the current one"},
			{"version_id", "id", "UUID, version 7"},
			{"key_id", "hash", "the context key that it is sealed under"},
			{"size", "int", "of the plaintext, in bytes"},
			{"unique_name", "flag", "whether the name was unique in the namespace by then"},
			{"created_at", "time", "when the object's first version was put"},
			{"updated_at", "time", "when this version was put"},
			{"expires_at", "time?", "from when on it reads as absent; null: never"},
			{"updated_by", "blob64k", "who put it; bytes, usually UTF-8"},
			{"labels", "blob16m", "labels, encoded; empty: none"},
			{"envelope", "blob", "the sealed value"},
		},
		primary: "object_id, number",
		foreign: []reference{{column: "object_id", table: "objects", cascade: true}},
		indexes: []index{
			{name: "version_id", unique: true, columns: "object_id, version_id"},
			{name: "key", columns: "key_id, object_id, number"},
		},
	},
	{
		name: "system", comment: "the vault's own records: cursors of long jobs, pending destructions",
		columns: []column{
			{"name", "name512", "printable ASCII"},
			{"value", "blob64k+", "at most 64 KiB"},
			{"revision", "int", "raised by every update"},
		},
		primary: "name",
	},
	{
		name: "schema_version", comment: "one row: the version of these tables",
		columns: []column{
			{"one", "small", "1"},
			{"version", "int", "which Migrate raises"},
		},
		primary: "one",
	},
}

// kinds are the types of columns: PostgreSQL, MySQL, SQLite. Bytes compare as
// bytes, in every collation.
var kinds = map[string][3]string{
	"hash":     {"bytea", "BINARY(32)", "BLOB"},
	"id":       {"uuid", "BINARY(16)", "BLOB"},
	"name128":  {`text COLLATE "C"`, "VARBINARY(128)", "TEXT"},
	"name512":  {"bytea", "VARBINARY(512)", "BLOB"},
	"text1024": {"bytea", "VARBINARY(1024)", "BLOB"},
	"blob":     {"bytea", "LONGBLOB", "BLOB"},
	"blob64k":  {"bytea", "BLOB", "BLOB"},
	"blob64k+": {"bytea", "MEDIUMBLOB", "BLOB"},
	"blob16m":  {"bytea", "MEDIUMBLOB", "BLOB"},
	"small":    {"smallint", "TINYINT UNSIGNED", "INTEGER"},
	"int":      {"bigint", "BIGINT", "INTEGER"},
	"flag":     {"boolean", "BOOLEAN", "INTEGER"},
	"time":     {"timestamptz", "BIGINT", "INTEGER"},
}

// checks are PostgreSQL's and SQLite's, whose types don't say how long bytes
// are.
var checks = map[string]string{
	"hash":     "length(%s) = 32",
	"id":       "length(%s) = 16", // SQLite only
	"name128":  "length(%s) BETWEEN 1 AND 128",
	"name512":  "length(%s) BETWEEN 1 AND 512",
	"text1024": "length(%s) <= 1024",
}

package sqlcore

import "fmt"

// statements are those that don't depend on the call.
type statements struct {
	version                                      stmt
	addContext, contextThere                     stmt
	getKey, latestKey, insertKey                 stmt
	insertKeyBeside                              stmt // PostgreSQL only
	updateKey, deleteKey, keyRevision            stmt
	updateKeys, keyRevisions                     stmt // PostgreSQL only
	getSystem, insertSystem, updateSystem        stmt
	deleteSystem, systemRevision                 stmt
	get                                          [8]stmt // by getIndex
	lockByName, lockByID, lockHolder             stmt
	putPostgres, putLook                         stmt
	putPeek, peekHolder                          stmt // without locks
	insertObject, updateObject, insertVersion    stmt
	keepFrom, trimVersions                       stmt
	deleteVersions, deleteObject                 stmt
	replaceEnvelope, keyOfVersion                stmt
	countByKey, importVersions, currentForImport stmt
	expired                                      stmt
	objectContext                                stmt // a part of others
}

func (l lang) statements() statements {
	var s statements
	c := l.compile
	s.version = c("SELECT version FROM {schema_version} WHERE one = 1")
	s.addContext = c("INSERT INTO {contexts} (context_hash, namespace, canonical) VALUES ({0 bytes}, {1 bytes}, {2 bytes})" + l.ifAbsent())
	s.contextThere = c("SELECT 1 FROM {contexts} WHERE context_hash = {0 bytes}")
	s.objectContext = c(objectContext)
	l.keyStatements(&s)
	s.getSystem = c("SELECT value, revision FROM {system} WHERE name = {0 bytes}")
	s.insertSystem = c("INSERT INTO {system} (name, value, revision) VALUES ({0 bytes}, {1 bytes}, {2 int})" + l.ifAbsent())
	s.updateSystem = c("UPDATE {system} SET value = {2 bytes}, revision = revision + 1 WHERE name = {0 bytes} AND revision = {1 int}")
	s.deleteSystem = c("DELETE FROM {system} WHERE name = {0 bytes} AND revision = {1 int}")
	s.systemRevision = c("SELECT revision FROM {system} WHERE name = {0 bytes}")
	for i := range s.get {
		s.get[i] = c(getText(i&getByID != 0, i&getVersion != 0, i&getEnvelope != 0))
	}
	l.objectStatements(&s)
	return s
}

// withContext adds a key's context with its pairs, in PostgreSQL, unless it is
// there. It and what comes after it begin once "go" has given its row.
const withContext = `fresh AS (
	INSERT INTO {contexts} (context_hash, namespace, canonical) SELECT {1 bytes}, {11 bytes}, {12 bytes} FROM go
	ON CONFLICT DO NOTHING RETURNING context_hash
), pairs AS (
	INSERT INTO {context_pairs} (pair_key, pair_value, namespace, context_hash)
	SELECT p.k, p.v, {11 bytes}, f.context_hash FROM fresh f, unnest({13 texts}, {14 blobs}) AS p (k, v)
	ON CONFLICT DO NOTHING
)
`

// besideTx bounds the statement's waits for locks, for this statement only: the
// application's transaction may have added the same context, and wait for the
// key's call to return. PostgreSQL can't see that as a deadlock.
var besideTx = fmt.Sprintf("SELECT set_config('lock_timeout', '%d', true) IS NOT NULL", spareWait.Milliseconds())

func (l lang) keyStatements(s *statements) {
	c := l.compile
	const from = "SELECT " + keyColumns + " FROM {keys} k"
	s.getKey = c(from + " WHERE k.key_id = {0 bytes}")
	s.latestKey = c(from + " WHERE k.context_hash = {0 bytes} AND k.purpose = {1 int} ORDER BY k.version DESC LIMIT 1")
	const columns = `INSERT INTO {keys} (key_id, context_hash, purpose, version, state, state_before, wrappings, parent_id,
	created_at, state_changed_at, rewrapped_at, revision)`
	const values = `{0 bytes}, {1 bytes}, {2 int}, {3 int}, {4 int}, {5 int}, {6 bytes}, {7 bytes}, {8 time}, {9 time}, {10 time}, 1`
	s.insertKey = c(columns + " VALUES (" + values + ")" + l.ifAbsent())
	if l.Dialect == PostgreSQL {
		insert := columns + " SELECT " + values + " FROM go"
		s.insertKey = c("WITH go AS (SELECT 1), " + withContext + insert + l.ifAbsent())
		s.insertKeyBeside = c("WITH go AS MATERIALIZED (" + besideTx + "), " + withContext + insert + l.ifAbsent())
	}
	s.updateKey = c(`UPDATE {keys} SET state = {2 int}, state_before = {3 int}, wrappings = {4 bytes}, parent_id = {5 bytes},
	state_changed_at = {6 time}, rewrapped_at = {7 time}, revision = revision + 1 WHERE key_id = {0 bytes} AND revision = {1 int}`)
	s.deleteKey = c("DELETE FROM {keys} WHERE key_id = {0 bytes} AND revision = {1 int}")
	s.keyRevision = c("SELECT revision FROM {keys} WHERE key_id = {0 bytes}")
	if l.Dialect == PostgreSQL {
		s.updateKeys = c(updateKeysPostgres)
		s.keyRevisions = c("SELECT key_id, revision FROM {keys} WHERE key_id = ANY({0 blobs})")
	}
}

func (l lang) objectStatements(s *statements) {
	c := l.compile
	lock, newest := l.forUpdate(), l.newest()
	const cur = "SELECT o.object_id, o.context_hash, o.name, o.version_id, o.number, o.expires_at, o.unique_name FROM {objects} o WHERE "
	s.lockByName = c(cur + "o.context_hash = {0 bytes} AND o.name = {1 bytes}" + lock)
	s.lockByID = c(cur + "o.object_id = {0 id}" + lock)
	const holder = cur + "o.namespace = {0 bytes} AND o.unique_name = {1 bytes}"
	s.lockHolder, s.peekHolder = c(holder+lock), c(holder)
	if l.Dialect == PostgreSQL {
		s.putPostgres = c(putPostgres)
	}
	s.putLook, s.putPeek = c(l.putLook()+lock), c(l.putLook())
	s.insertObject = c(`INSERT INTO {objects} (object_id, context_hash, namespace, name, unique_name, number, version_id, created_at, updated_at, expires_at)
	VALUES ({0 id}, {1 bytes}, {2 bytes}, {3 bytes}, {4 bytes}, {5 int}, {6 id}, {7 time}, {8 time}, {9 time})`)
	s.updateObject = c(`UPDATE {objects} SET unique_name = {1 bytes}, number = {2 int}, version_id = {3 id}, created_at = {4 time},
	updated_at = {5 time}, expires_at = {6 time} WHERE object_id = {0 id}`)
	s.insertVersion = c(`INSERT INTO {versions} (object_id, number, version_id, key_id, size, unique_name, created_at, updated_at, expires_at, updated_by, labels, envelope)
	VALUES ({0 id}, {1 int}, {2 id}, {3 bytes}, {4 int}, {5 bool}, {6 time}, {7 time}, {8 time}, {9 bytes}, {10 bytes}, {11 bytes})`)
	s.keepFrom = c("SELECT number FROM {versions} WHERE object_id = {0 id} ORDER BY number DESC LIMIT 1 OFFSET {1 int}" + newest)
	s.trimVersions = c("DELETE FROM {versions} WHERE object_id = {0 id} AND number <= {1 int}")
	s.deleteVersions = c("DELETE FROM {versions} WHERE object_id = {0 id}")
	s.deleteObject = c("DELETE FROM {objects} WHERE object_id = {0 id}")
	s.replaceEnvelope = c(`UPDATE {versions} SET key_id = {3 bytes}, envelope = {4 bytes}
	WHERE object_id = {0 id} AND version_id = {1 id} AND key_id = {2 bytes}`)
	s.keyOfVersion = c("SELECT key_id, envelope FROM {versions} WHERE object_id = {0 id} AND version_id = {1 id}" + newest)
	s.countByKey = c("SELECT count(*) FROM {versions} WHERE key_id = {0 bytes}")
	s.importVersions = c("SELECT " + objectColumns + envelopeColumn + " FROM " + versionTables + `
	WHERE v.object_id = {0 id} AND (v.number = {1 int} OR v.version_id = {2 id})` + newest)
	s.currentForImport = c("SELECT " + objectColumns + " FROM " + objectTables + " WHERE o.object_id = {0 id}" + newest)
	s.expired = c(`SELECT o.object_id, o.context_hash, o.name, o.version_id, o.number, o.expires_at, o.unique_name FROM {objects} o
	WHERE o.namespace = {0 bytes} AND o.expires_at <= {1 time} ORDER BY o.expires_at LIMIT {2 int}` + lock)
}

// Package etcdstore is a store in etcd (tested on version 3.7), for those whose
// distributed engine it is. It works on the application's own client:
//
//	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints})
//	…
//	store, err := etcdstore.New(client)
//
// Any number of processes may use one prefix at a time. The application keeps
// the client, closes it, and chooses its endpoints, TLS and user.
//
// # What is promised, and by what
//
// Every write is one etcd transaction. It compares the revisions of all the
// keys that decided it, and if one of them has changed meanwhile, the call
// reads again and decides anew. All that finds a record is written in the
// transaction of the record. Reads are linearizable, and all reads of one call
// are of one revision: a page is a snapshot. etcd acknowledges a write when a
// majority of the members has it on disk.
//
// One kind of write is in two steps. etcd takes 128 operations in a
// transaction, and an object may have any number of versions. When more than 16
// go at a time, by [storage.PutGuard] with Keep or with their object, the
// transaction only says so (“debris” in the layout below): from then on they
// are gone for every call. What is left of them is deleted after that, in the
// same call, or if that is cut off, by the next write to the object or the next
// DeleteExpired. Debris costs space and slows CountByKey down, no more.
//
// # Limits
//
//   - etcd takes requests of 1.5 MiB (its --max-request-bytes; tell
//     [Options.MaxRequestBytes] if yours is another). A value of 1 MiB fits. What
//     doesn't fit is refused with [storage.ErrTooLarge] before anything is sent.
//     gRPC's own limit in the client is 2 MiB (MaxCallSendMsgSize).
//   - A key with all its wrappings has to fit, too, and etcd has to take 128
//     operations in a transaction (--max-txn-ops).
//   - etcd keeps all keys in memory and all data in one file on every member,
//     2 GiB by default (--quota-backend-bytes). An object of one version takes 8
//     to 11 keys of about 100 bytes, each further version 4 or 5, and a context
//     with objects 2 for each pair: think of 100,000 objects, not of millions. When the quota is reached writes fail
//     with an error that matches [storage.ErrUnavailable] and rpctypes.ErrNoSpace.
//   - Old revisions stay until they are compacted: let the cluster do it
//     (--auto-compaction-mode, periodic). A page that is being read while its
//     revision is compacted is read again.
//   - For each page etcd counts all keys from the page's start to the list's
//     end, in memory, about a tenth of a microsecond each: 10 ms for 100,000.
//     Deleting an object does so for the objects of its context. Apart from that
//     a page costs the same wherever it is, forwards and backwards.
//
// # Errors
//
// Whatever keeps etcd from answering matches [storage.ErrUnavailable]: no
// connection, no leader, no quorum, a time-out, a ctx that ended (its error
// matches too). Whether a write was done is then not known, as with every
// database, and it isn't tried again. Reads are, for a few seconds, while a
// member is away; so are writes that a member has certainly not done, as it has
// no leader: one that is cut off from the others is no outage.
// Where something between the client and etcd answers a write in etcd's stead
// with gRPC's Canceled or DeadlineExceeded, the client sends it again, and a
// write that had been done reads as [storage.ErrExists] or
// [storage.ErrVersionConflict]: have such a proxy answer Unavailable.
//
// [ErrDenied] says that etcd refused the client's user or password.
// [storage.ErrClosed] says that the client was closed.
//
// # Backup
//
// etcdctl snapshot save takes keys and data together, at one revision. Or copy
// to another store with [storage.Copy].
//
// A role for the vault needs read and write permission on the prefix:
//
//	etcdctl role grant-permission vault --prefix=true readwrite vault/
package etcdstore

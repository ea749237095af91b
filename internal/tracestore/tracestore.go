// Package tracestore tells of the calls of a store as they begin and end.
package tracestore

import (
	"context"
	"errors"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// Begin is told the name of a method that is about to be called. The ctx that it
// returns is the call's, and the func is called with its error. Neither is nil.
type Begin func(ctx context.Context, method string) (context.Context, func(error))

// Wrap returns s with each call of it told to begin. The result has exactly the
// optional interfaces of package storage that s has: a test fails when one is
// forgotten in [optional].
func Wrap(s storage.Store, begin Begin) storage.Store {
	return withOptional(&store{to: s, begin: begin}, s)
}

// store is not made by embedding the interface: a method that is forgotten here
// must not compile.
type store struct {
	to    storage.Store
	begin Begin
}

var _ storage.Store = (*store)(nil)

var errPanic = errors.New("the driver panicked")

// call tells of a call's beginning; what it returns is to be deferred, with the
// call's error.
func (s *store) call(ctx *context.Context, method string) func(*error) {
	inner, done := s.begin(*ctx, method)
	*ctx = inner
	return func(err *error) {
		if p := recover(); p != nil {
			done(errPanic)
			panic(p)
		}
		done(*err)
	}
}

func (s *store) Ping(ctx context.Context) (err error) {
	defer s.call(&ctx, "Ping")(&err)
	return s.to.Ping(ctx)
}

func (s *store) GetKey(ctx context.Context, id keyctx.KeyID) (_ storage.KeyRecord, err error) {
	defer s.call(&ctx, "GetKey")(&err)
	return s.to.GetKey(ctx, id)
}

func (s *store) LatestKey(ctx context.Context, hash keyctx.Hash, p keyctx.Purpose) (_ storage.KeyRecord, err error) {
	defer s.call(&ctx, "LatestKey")(&err)
	return s.to.LatestKey(ctx, hash, p)
}

func (s *store) InsertKey(ctx context.Context, rec storage.KeyRecord) (err error) {
	defer s.call(&ctx, "InsertKey")(&err)
	return s.to.InsertKey(ctx, rec)
}

func (s *store) UpdateKey(ctx context.Context, rec storage.KeyRecord) (err error) {
	defer s.call(&ctx, "UpdateKey")(&err)
	return s.to.UpdateKey(ctx, rec)
}

func (s *store) DeleteKey(ctx context.Context, id keyctx.KeyID, revision uint64) (err error) {
	defer s.call(&ctx, "DeleteKey")(&err)
	return s.to.DeleteKey(ctx, id, revision)
}

func (s *store) ListKeys(ctx context.Context, q storage.KeyQuery) (_ storage.KeyPage, err error) {
	defer s.call(&ctx, "ListKeys")(&err)
	return s.to.ListKeys(ctx, q)
}

func (s *store) PutObject(ctx context.Context, rec storage.ObjectRecord, g storage.PutGuard) (_ storage.ObjectRecord, err error) {
	defer s.call(&ctx, "PutObject")(&err)
	return s.to.PutObject(ctx, rec, g)
}

func (s *store) GetObject(ctx context.Context, ref storage.ObjectRef) (_ storage.ObjectRecord, err error) {
	defer s.call(&ctx, "GetObject")(&err)
	return s.to.GetObject(ctx, ref)
}

func (s *store) GetObjects(ctx context.Context, hash keyctx.Hash, names []string, now time.Time) (_ []storage.ObjectRecord, err error) {
	defer s.call(&ctx, "GetObjects")(&err)
	return s.to.GetObjects(ctx, hash, names, now)
}

func (s *store) DeleteObject(ctx context.Context, ref storage.ObjectRef, ifVersion storage.ID) (_ storage.ObjectRecord, err error) {
	defer s.call(&ctx, "DeleteObject")(&err)
	return s.to.DeleteObject(ctx, ref, ifVersion)
}

func (s *store) ListObjects(ctx context.Context, q storage.ObjectQuery) (_ storage.ObjectPage, err error) {
	defer s.call(&ctx, "ListObjects")(&err)
	return s.to.ListObjects(ctx, q)
}

func (s *store) ListVersions(ctx context.Context, q storage.VersionQuery) (_ storage.ObjectPage, err error) {
	defer s.call(&ctx, "ListVersions")(&err)
	return s.to.ListVersions(ctx, q)
}

func (s *store) DeleteExpired(ctx context.Context, namespace string, now time.Time, limit int) (_ []storage.ObjectRecord, err error) {
	defer s.call(&ctx, "DeleteExpired")(&err)
	return s.to.DeleteExpired(ctx, namespace, now, limit)
}

func (s *store) ReplaceEnvelope(ctx context.Context, object, version storage.ID, oldKey, newKey keyctx.KeyID, envelope []byte) (err error) {
	defer s.call(&ctx, "ReplaceEnvelope")(&err)
	return s.to.ReplaceEnvelope(ctx, object, version, oldKey, newKey, envelope)
}

func (s *store) CountByKey(ctx context.Context, id keyctx.KeyID) (_ int64, err error) {
	defer s.call(&ctx, "CountByKey")(&err)
	return s.to.CountByKey(ctx, id)
}

func (s *store) ListByKey(ctx context.Context, q storage.ByKeyQuery) (_ storage.ObjectPage, err error) {
	defer s.call(&ctx, "ListByKey")(&err)
	return s.to.ListByKey(ctx, q)
}

func (s *store) ImportVersion(ctx context.Context, rec storage.ObjectRecord) (err error) {
	defer s.call(&ctx, "ImportVersion")(&err)
	return s.to.ImportVersion(ctx, rec)
}

func (s *store) GetSystem(ctx context.Context, name string) (_ storage.SystemRecord, err error) {
	defer s.call(&ctx, "GetSystem")(&err)
	return s.to.GetSystem(ctx, name)
}

func (s *store) PutSystem(ctx context.Context, rec storage.SystemRecord) (_ uint64, err error) {
	defer s.call(&ctx, "PutSystem")(&err)
	return s.to.PutSystem(ctx, rec)
}

func (s *store) DeleteSystem(ctx context.Context, name string, revision uint64) (err error) {
	defer s.call(&ctx, "DeleteSystem")(&err)
	return s.to.DeleteSystem(ctx, name, revision)
}

func (s *store) ListSystem(ctx context.Context, prefix, after string, limit int) (_ []storage.SystemRecord, err error) {
	defer s.call(&ctx, "ListSystem")(&err)
	return s.to.ListSystem(ctx, prefix, after, limit)
}

package etcdstore_test

import (
	"context"
	"fmt"
	"log"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/etcdstore"
)

// The store works on the application's own client.
func ExampleNew() {
	ctx := context.Background()
	etcd, err := shared() // a cluster for tests
	if err != nil {
		log.Fatal(err)
	}
	client, err := etcd.client() // in your program: clientv3.New(clientv3.Config{Endpoints: …})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	store, err := etcdstore.New(client, etcdstore.Options{Prefix: "billing/vault/"})
	if err != nil {
		log.Fatal(err)
	}
	if err := store.Ping(ctx); err != nil {
		log.Fatal(err)
	}
	page, err := store.ListKeys(ctx, storage.KeyQuery{
		Contexts: storage.ContextFilter{Match: keyctx.KeyContext{"organization_id": "org_01"}},
	})
	fmt.Println(len(page.Keys), err)
	// Output: 0 <nil>
}

module github.com/embedvault/vault/examples

go 1.25.0

require (
	github.com/embedvault/vault v0.0.0
	github.com/joho/godotenv v1.5.1
)

require (
	github.com/tink-crypto/tink-go/v2 v2.9.0 // indirect
	go.etcd.io/bbolt v1.5.0 // indirect
	golang.org/x/crypto v0.53.0 // indirect
	golang.org/x/sys v0.46.0 // indirect
	google.golang.org/protobuf v1.36.11 // indirect
)

replace github.com/embedvault/vault => ../

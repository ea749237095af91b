module github.com/embedvault/vault/examples/sqlc

go 1.26.0

require (
	github.com/embedvault/vault v0.0.0
	github.com/embedvault/vault/storage/pgxstore v0.0.0
	github.com/embedvault/vault/storage/sqlstore/sqltest v0.0.0
	github.com/embedvault/vault/vaultpgx v0.0.0
	github.com/jackc/pgx/v5 v5.12.0
)

require (
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	github.com/jackc/puddle/v2 v2.2.3 // indirect
	github.com/sony/gobreaker/v2 v2.4.0 // indirect
	github.com/tink-crypto/tink-go/v2 v2.9.0 // indirect
	golang.org/x/crypto v0.53.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.41.0 // indirect
	google.golang.org/protobuf v1.36.11 // indirect
)

replace (
	github.com/embedvault/vault => ../..
	github.com/embedvault/vault/storage/pgxstore => ../../storage/pgxstore
	github.com/embedvault/vault/storage/sqlstore/sqltest => ../../storage/sqlstore/sqltest
	github.com/embedvault/vault/vaultpgx => ../../vaultpgx
)

module github.com/embedvault/vault/vaultpgx

go 1.25.0

require (
	github.com/embedvault/vault v0.0.0
	github.com/jackc/pgx/v5 v5.12.0
)

require (
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	github.com/sony/gobreaker/v2 v2.4.0 // indirect
	github.com/tink-crypto/tink-go/v2 v2.9.0 // indirect
	golang.org/x/text v0.41.0 // indirect
)

replace github.com/embedvault/vault => ..

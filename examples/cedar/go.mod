module github.com/embedvault/vault/examples/cedar

go 1.26.0

require (
	github.com/cedar-policy/cedar-go v1.9.0
	github.com/embedvault/vault v0.0.0
)

require (
	github.com/go-json-experiment/json v0.0.0-20260820222146-c27c302e5fc3 // indirect
	github.com/sony/gobreaker/v2 v2.4.0 // indirect
	github.com/tink-crypto/tink-go/v2 v2.9.0 // indirect
	golang.org/x/exp v0.0.0-20220921023135-46d9e7742f1e // indirect
)

replace github.com/embedvault/vault => ../../

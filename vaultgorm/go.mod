module github.com/embedvault/vault/vaultgorm

go 1.25.0

require (
	github.com/embedvault/vault v0.0.0
	gorm.io/gorm v1.31.2
)

require (
	github.com/jinzhu/inflection v1.0.0 // indirect
	github.com/jinzhu/now v1.1.5 // indirect
	github.com/sony/gobreaker/v2 v2.4.0 // indirect
	github.com/tink-crypto/tink-go/v2 v2.9.0 // indirect
	golang.org/x/text v0.20.0 // indirect
)

replace github.com/embedvault/vault => ..

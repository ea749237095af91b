module github.com/embedvault/vault/examples

go 1.25.0

require (
	github.com/embedvault/vault v0.0.0
	github.com/joho/godotenv v1.5.1
)

replace github.com/embedvault/vault => ../

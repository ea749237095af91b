package gcpkms

var (
	Assemble = assemble
	Parse    = parse
)

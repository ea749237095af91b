package audit

import "github.com/embedvault/vault/kek/memkek"

func kek() *memkek.KEK { return memkek.New("test") }

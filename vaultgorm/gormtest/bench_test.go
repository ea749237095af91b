package gormtest

import (
	"crypto/rand"
	"fmt"
	"reflect"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/storage/memstore"
	"github.com/embedvault/vault/vaultgorm"
)

const benchRows = 1000

// Plain is a Sealed without encryption: its bytes are as many as a Sealed's are in
// plaintext.
type Plain struct {
	ID    string `gorm:"primaryKey;size:36"`
	Email []byte
	Bidx  []byte `gorm:"size:16;index"`
	Note  []byte
}

// Sealed is what is measured: two encrypted columns and an index.
type Sealed struct {
	ID    string                  `gorm:"primaryKey;size:36"`
	Email vault.Encrypted[string] `gorm:"serializer:vault;type:bytes" vault:"index:bidx,email@1"`
	Bidx  []byte                  `gorm:"size:16;index"`
	Note  vault.Encrypted[string] `gorm:"serializer:vault;type:bytes"`
}

func plainRows(run int) any {
	rows := make([]Plain, benchRows)
	for i := range rows {
		rows[i] = Plain{ID: fmt.Sprintf("r%d-%d", run, i), Email: fmt.Appendf(nil, "person.number%d@example.org", i), Bidx: make([]byte, 16), Note: make([]byte, 40)}
		_, _ = rand.Read(rows[i].Bidx)
	}
	return &rows
}

func sealedRows(run int) any {
	rows := make([]Sealed, benchRows)
	for i := range rows {
		rows[i] = Sealed{ID: fmt.Sprintf("r%d-%d", run, i), Email: vault.Seal(fmt.Sprintf("person.number%d@example.org", i)), Note: vault.Seal(string(make([]byte, 40)))}
	}
	return &rows
}

// BenchmarkRows inserts and selects 1,000 rows by one GORM, plain and sealed: the
// figures of docs/PERFORMANCE.md are the ratios.
func BenchmarkRows(b *testing.B) {
	for _, en := range engines {
		e := newEnv(b, en, options{}, &Plain{}, &Sealed{})
		// A vault that keeps no events, as the one for tests does.
		v := must(vault.New(vault.Config{KEK: memkek.New("bench"), Store: memstore.New()}))(b)
		b.Cleanup(func() { _ = v.Close() })
		db := e.open(b, options{}, v).Session(&gorm.Session{Logger: logger.Discard})
		run := 0
		insert := func(rows func(int) any) func(b *testing.B) {
			return func(b *testing.B) {
				for b.Loop() {
					b.StopTimer()
					run++
					all := rows(run)
					b.StartTimer()
					ok(b, db.CreateInBatches(all, 500).Error)
				}
			}
		}
		one := func(rows func(int) any) func(b *testing.B) {
			return func(b *testing.B) {
				for b.Loop() {
					b.StopTimer()
					run++
					all := reflect.ValueOf(rows(run)).Elem()
					b.StartTimer()
					ok(b, db.Transaction(func(tx *gorm.DB) error {
						for i := range all.Len() {
							if err := tx.Create(all.Index(i).Addr().Interface()).Error; err != nil {
								return err
							}
						}
						return nil
					}))
				}
			}
		}
		b.Run(en.name+"/insert/plain", insert(plainRows))
		b.Run(en.name+"/insert/sealed", insert(sealedRows))
		b.Run(en.name+"/rowbyrow/plain", one(plainRows))
		b.Run(en.name+"/rowbyrow/sealed", one(sealedRows))
		for _, table := range []string{"plains", "sealeds"} {
			e.exec(b, "DELETE FROM "+table)
		}
		ok(b, db.CreateInBatches(plainRows(0), 500).Error)
		ok(b, db.CreateInBatches(sealedRows(0), 500).Error)
		b.Run(en.name+"/select/plain", func(b *testing.B) {
			for b.Loop() {
				var rows []Plain
				ok(b, db.Find(&rows).Error)
			}
		})
		b.Run(en.name+"/select/sealed", func(b *testing.B) {
			for b.Loop() {
				var rows []Sealed
				ok(b, db.Find(&rows).Error)
			}
		})
		b.Run(en.name+"/select/opened", func(b *testing.B) {
			for b.Loop() {
				var rows []Sealed
				tx := db.Scopes(vaultgorm.Eager).Find(&rows)
				ok(b, tx.Error)
				ok(b, vaultgorm.OpenError(tx))
				for _, r := range rows {
					_ = must(r.Email.Open(e.ctx))(b)
					_ = must(r.Note.Open(e.ctx))(b)
				}
			}
		})
	}
}

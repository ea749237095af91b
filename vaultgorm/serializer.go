package vaultgorm

import (
	"context"
	"fmt"
	"reflect"
	"sync"

	"github.com/embedvault/vault"
	"gorm.io/gorm/schema"
)

// serializerName is what a model's tag says: `gorm:"serializer:vault"`.
const serializerName = "vault"

// Serializer is what GORM calls for fields with the tag serializer:vault. [Plugin]
// registers it. It has no state: GORM's registry is the process's, and a program may
// have several vaults.
type Serializer struct{}

var registering sync.Mutex

func registerSerializer() error {
	registering.Lock()
	defer registering.Unlock()
	s, taken := schema.GetSerializer(serializerName)
	if _, ours := s.(Serializer); taken && !ours {
		return fmt.Errorf("vaultgorm: a GORM serializer %q is registered already, and is a %T", serializerName, s)
	}
	schema.RegisterSerializer(serializerName, Serializer{})
	return nil
}

// Scan takes the sealed bytes of a column, and does nothing else: where they are from
// is known when the whole row has been read.
func (Serializer) Scan(ctx context.Context, field *schema.Field, dst reflect.Value, dbValue any) error {
	v := field.ReflectValueOf(ctx, dst)
	if v.CanAddr() {
		if box, ok := v.Addr().Interface().(vault.FieldBox); ok {
			return box.Scan(dbValue)
		}
	}
	return fmt.Errorf("vaultgorm: field %s of %v: %w: serializer:vault is for a vault.Encrypted", field.Name, field.Schema.ModelType, vault.ErrModel)
}

// Value always fails: the plugin has replaced what is stored before GORM asks, and
// what remains is a condition, or a *gorm.DB without the plugin. The value beside the
// error isn't nil, because GORM drops the error where it decides between = and IS NULL.
func (Serializer) Value(_ context.Context, field *schema.Field, dst reflect.Value, fieldValue any) (any, error) {
	return []byte{}, &unsealedError{
		field: field,
		box:   func() (any, reflect.Value) { return fieldValue, dst },
	}
}

// unsealedError is what Value fails with. It carries the field, behind a function that
// nothing prints, to the clause that seals it.
type unsealedError struct {
	field *schema.Field
	box   func() (value any, row reflect.Value)
}

func (e *unsealedError) Error() string {
	return fmt.Sprintf("vaultgorm: %s.%s: %v; search with vaultgorm.Eq, and write through a *gorm.DB that uses the plugin",
		e.field.Schema.Table, e.field.DBName, ErrCondition)
}

func (e *unsealedError) Unwrap() error { return ErrCondition }

package gormtest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaultgorm"
	"github.com/embedvault/vault/vaulttest"
)

func ids(us []User) (out []string) {
	for _, u := range us {
		out = append(out, u.ID)
	}
	slices.Sort(out)
	return out
}

// Eq and In, wherever a condition can stand.
func TestEq(t *testing.T) {
	each(t, users, func(t *testing.T, e *env) {
		for i := range 4 {
			e.stored(t, fmt.Sprint("u", i))
		}
		eq := func(i int) clause.Expression { return vaultgorm.Eq("Email", fmt.Sprintf(" U%d@Example.org", i)) }
		for name, c := range map[string]struct {
			tx   *gorm.DB
			want string
		}{
			"where":    {e.db.Where(eq(1)), "u1"},
			"column":   {e.db.Where(vaultgorm.Eq("email", "u1@example.org")), "u1"},
			"and":      {e.db.Where(eq(1)).Where("name = ?", "name of u2"), ""},
			"or":       {e.db.Where(eq(1)).Or(eq(2)), "u1 u2"},
			"not":      {e.db.Not(eq(1)), "u0 u2 u3"},
			"group":    {e.db.Where(e.db.Where(eq(1)).Or("name = ?", "name of u3")).Where("1 = 1"), "u1 u3"},
			"none":     {e.db.Where(vaultgorm.Eq("Email", "nobody@example.org")), ""},
			"in":       {e.db.Where(vaultgorm.In("Email", []string{"u1@example.org", "U3@example.org"})), "u1 u3"},
			"in none":  {e.db.Where(vaultgorm.In[string]("Email", nil)), ""},
			"subquery": {e.db.Where("id IN (?)", e.db.Model(&User{}).Select("id").Where(eq(2))), "u2"},
			"a field":  {e.db.Where(vaultgorm.Eq("Email", vault.Seal("u2@example.org"))), "u2"},
			"clauses":  {e.db.Clauses(eq(2)), "u2"},
		} {
			var us []User
			ok(t, c.tx.Find(&us).Error)
			if got := strings.Join(ids(us), " "); got != c.want {
				t.Fatalf("%s: found %q, want %q", name, got, c.want)
			}
		}
		var n int64
		ok(t, e.db.Model(&User{}).Where(eq(1)).Count(&n).Error)
		ok(t, e.db.Model(&User{}).Where(eq(1)).Update("name", "found").Error)
		ok(t, e.db.Where(eq(2)).Delete(&User{}).Error)
		var us []User
		ok(t, e.db.Find(&us).Error)
		if n != 1 || len(us) != 3 || e.user(t, "u1").Name != "found" {
			t.Fatalf("%d, %q", n, ids(us))
		}
		got, err := gorm.G[User](e.db).Where(eq(3)).First(e.ctx)
		ok(t, err)
		opens(t, got.Email, "u3@example.org")
		if strings.Contains(e.log.String(), "xample.org") {
			t.Fatal("the log shows a value")
		}
	})
}

// A search that can't find anything is an error, also where GORM would drop it.
func TestEqFails(t *testing.T) {
	each(t, users, func(t *testing.T, e *env) {
		e.stored(t, "u1")
		value := "u1@example.org"
		other := e.open(t, options{}, vaulttest.New(t).Vault)
		wrong := vault.WithKeyContext(t.Context(), orgB)
		for name, c := range map[string]struct {
			tx    *gorm.DB
			class error
		}{
			"another tenant":  {e.db.WithContext(wrong).Where(vaultgorm.Eq("Email", value)), vault.ErrKeyNotFound},
			"another vault":   {other.Where(vaultgorm.Eq("Email", value)), vault.ErrKeyNotFound},
			"no tenant":       {e.db.WithContext(t.Context()).Where(vaultgorm.Eq("Email", value)), vault.ErrNoContext},
			"no index":        {e.db.Where(vaultgorm.Eq("SSN", value)), vaultgorm.ErrNoIndex},
			"no field":        {e.db.Where(vaultgorm.Eq("Nothing", value)), vaultgorm.ErrNoIndex},
			"not compound":    {e.db.Where(vaultgorm.Eq("Email", value, value)), vaultgorm.ErrNoIndex},
			"no address":      {e.db.Where(vaultgorm.Eq("Email", "x")), vault.ErrNotIndexable},
			"null":            {e.db.Where(vaultgorm.Eq("Email", nil)), vault.ErrNotIndexable},
			"among others":    {e.db.Where(vaultgorm.In("Email", []any{value, "x"})), vault.ErrNotIndexable},
			"in a subquery":   {e.db.Where("id NOT IN (?)", e.db.Model(&User{}).Select("id").Where(vaultgorm.Eq("Email", "x"))), vault.ErrNotIndexable},
			"by a comparison": {e.db.Where("email", value), vaultgorm.ErrCondition},
			"by a map":        {e.db.Where(map[string]any{"email": value}), vaultgorm.ErrCondition},
			"by a list":       {e.db.Where(map[string]any{"email": []string{value}}), vaultgorm.ErrCondition},
			"by an example":   {e.db.Where(&User{Email: vault.Seal(value)}), vaultgorm.ErrCondition},
			"by not":          {e.db.Not(map[string]any{"users.email": value}), vaultgorm.ErrCondition},
			"by or":           {e.db.Where("1 = 1").Or(User{Email: vault.Seal(value)}), vaultgorm.ErrCondition},
			"in SQL":          {e.db.Where("email = ?", vault.Seal(value)), vault.ErrPending},
			"compared within": {e.db.Where("id NOT IN (?)", e.db.Model(&User{}).Select("id").Where("email", value)), vaultgorm.ErrCondition},
			"like within":     {e.db.Where("id NOT IN (?)", e.db.Model(&User{}).Select("id").Where(User{Email: vault.Seal(value)})), vaultgorm.ErrCondition},
		} {
			tx := c.tx.Session(&gorm.Session{})
			var us []User
			if err := tx.Find(&us).Error; !errors.Is(err, c.class) || len(us) != 0 {
				t.Fatalf("%s: got error %v and %d rows, want %v", name, err, len(us), c.class)
			}
			if err := tx.Delete(&User{}).Error; !errors.Is(err, c.class) {
				t.Fatalf("%s: delete: got error %v, want %v", name, err, c.class)
			}
			if err := tx.Model(&User{}).Update("name", "x").Error; !errors.Is(err, c.class) {
				t.Fatalf("%s: update: got error %v, want %v", name, err, c.class)
			}
		}
		if u := e.user(t, "u1"); u.Name != "name of u1" {
			t.Fatal(u.Name)
		}
		if strings.Contains(e.log.String(), value) {
			t.Fatal("the log shows a value")
		}
		// What is there, and whether something is, can be asked.
		var us []User
		ok(t, e.db.Where("email", nil).Find(&us).Error)
		ok(t, e.db.Where("email = ?", e.user(t, "u1").Email).Find(&us).Error)
		if len(us) != 1 {
			t.Fatal("the very bytes weren't found")
		}
	})
}

// FirstOrCreate and FirstOrInit by example are refused; with Eq they do what they say.
func TestFirstOrCreate(t *testing.T) {
	each(t, users, func(t *testing.T, e *env) {
		e.stored(t, "u1")
		example := User{Email: vault.Seal("u1@example.org")}
		is(t, e.db.FirstOrCreate(newUser("u2"), example).Error, vaultgorm.ErrCondition)
		is(t, e.db.Where(example).FirstOrInit(&User{}).Error, vaultgorm.ErrCondition)
		is(t, e.db.Delete(&User{}, example).Error, vaultgorm.ErrCondition)
		is(t, e.db.Delete(&example).Error, gorm.ErrMissingWhereClause)

		var u User
		ok(t, e.db.Where(vaultgorm.Eq("Email", "u1@example.org")).Attrs(*newUser("u2")).FirstOrCreate(&u).Error)
		if u.ID != "u1" {
			t.Fatal(u.ID)
		}
		u = User{}
		ok(t, e.db.Where(vaultgorm.Eq("Email", "u2@example.org")).Attrs(*newUser("u2")).FirstOrCreate(&u).Error)
		opens(t, e.user(t, "u2").Email, "u2@example.org")
		u = User{}
		ok(t, e.db.Where(vaultgorm.Eq("Email", "u2@example.org")).Assign(User{SSN: vault.Seal("assigned")}).FirstOrCreate(&u).Error)
		opens(t, e.user(t, "u2").SSN, "assigned")
	})
}

// Person has the other kinds of indexes.
type Person struct {
	ID      string `gorm:"primaryKey;size:36"`
	Country string `gorm:"size:2"`

	Name     vault.Encrypted[string] `gorm:"serializer:vault;type:bytes" vault:"index:name_bucket,lower@1,bits:4;index:name_in,lower@1,and:Country=exact@1"`
	NameBkt  []byte                  `gorm:"column:name_bucket;size:1;index"`
	NameIn   []byte                  `gorm:"size:16"`
	Login    vault.Encrypted[string] `gorm:"serializer:vault;type:bytes" vault:"index:login_bidx,email@1,scope:global"`
	LoginIdx []byte                  `gorm:"column:login_bidx;size:16"`
}

// A bucketed index finds more than was asked for: the plugin filters it, or refuses.
func TestBucketed(t *testing.T) {
	each(t, []any{&Person{}}, func(t *testing.T, e *env) {
		var ps []*Person
		for i := range 60 {
			ps = append(ps, &Person{ID: fmt.Sprint("p", i), Country: "ch", Name: vault.Seal(fmt.Sprint("Name ", i))})
		}
		ok(t, e.db.Create(ps).Error)
		var got []Person
		tx := e.db.Where("country = ?", "ch").Where(vaultgorm.Eq("Name", "NAME 7")).Find(&got)
		ok(t, tx.Error)
		if len(got) != 1 || got[0].ID != "p7" || tx.RowsAffected != 1 {
			t.Fatalf("%d rows, %d affected", len(got), tx.RowsAffected)
		}
		var some []*Person
		ok(t, e.db.Where(vaultgorm.In("Name", []string{"name 3", "name 5", "nobody"})).Order("id").Find(&some).Error)
		if len(some) != 2 || some[0].ID != "p3" || some[1].ID != "p5" {
			t.Fatalf("%d rows", len(some))
		}
		ok(t, e.db.Where(vaultgorm.Candidates("Name", "name 7")).Find(&got).Error)
		bucket := string(e.column(t, "people", "name_bucket", "p7"))
		for _, p := range ps {
			if string(e.column(t, "people", "name_bucket", p.ID)) != bucket {
				continue
			}
			if !slices.ContainsFunc(got, func(g Person) bool { return g.ID == p.ID }) {
				t.Fatalf("%s is in the bucket, and no candidate", p.ID)
			}
			got = slices.DeleteFunc(got, func(g Person) bool { return g.ID == p.ID })
		}
		if len(got) > 0 {
			t.Fatalf("%d candidates aren't in the bucket", len(got))
		}
		eq := vaultgorm.Eq("Name", "name 7")
		var n int64
		var p Person
		for i, tx := range []*gorm.DB{
			e.db.Where(eq).First(&p), e.db.Where(eq).Limit(3).Find(&got), e.db.Model(&Person{}).Where(eq).Count(&n),
			e.db.Where(eq).Delete(&Person{}), e.db.Model(&Person{}).Where(eq).Update("country", "de"),
			e.db.Where(eq).Or("country = ?", "de").Find(&got), e.db.Not(eq).Find(&got), e.db.Select("id").Where(eq).Find(&got),
			e.db.Where("id IN (?)", e.db.Model(&Person{}).Select("id").Where(eq)).Find(&got),
		} {
			if !errors.Is(tx.Error, vaultgorm.ErrBucketed) {
				t.Fatalf("%d: got error %v, want ErrBucketed", i, tx.Error)
			}
		}
	})
}

// A compound index follows each of its columns.
func TestCompound(t *testing.T) {
	each(t, []any{&Person{}}, func(t *testing.T, e *env) {
		p := &Person{ID: "p1", Country: "ch", Name: vault.Seal("Ann")}
		ok(t, e.db.Create(p).Error)
		finds := func(country string, want int) {
			t.Helper()
			var got []Person
			ok(t, e.db.Where(vaultgorm.Eq("Name", "ann", country)).Find(&got).Error)
			if len(got) != want {
				t.Fatalf("%d rows in %s, want %d", len(got), country, want)
			}
		}
		finds("ch", 1)
		finds("de", 0)
		var read Person
		ok(t, e.db.First(&read).Error)
		ok(t, e.db.Model(&read).Update("country", "de").Error)
		finds("de", 1)
		finds("ch", 0)
		read.Country = "fr"
		ok(t, e.db.Save(&read).Error)
		finds("fr", 1)
		is(t, e.db.Model(&Person{ID: "p1"}).Update("country", "it").Error, vaultgorm.ErrIndexColumn)
		is(t, e.db.Model(&Person{}).Where("1 = 1").Update("country", "it").Error, vaultgorm.ErrIndexColumn)
		ok(t, e.db.Model(&Person{ID: "p1"}).Updates(Person{Country: "it", Name: vault.Seal("Ann")}).Error)
		finds("it", 1)
	})
}

// A global index is asked before it is known whose the row is.
func TestGlobal(t *testing.T) {
	each(t, []any{&Person{}}, func(t *testing.T, e *env) {
		ok(t, e.db.Create(&Person{ID: "p1", Login: vault.Seal("ann@example.org")}).Error)
		var p Person
		ok(t, e.db.WithContext(t.Context()).Where(vaultgorm.Eq("Login", "ANN@example.org")).First(&p).Error)
		if got := must(p.Login.Open(e.ctx))(t); got != "ann@example.org" {
			t.Fatal(got)
		}
	})
}

// Account1 to Account3 are a model before, in and after the rotation of its index.
type Account1 struct {
	ID    string                  `gorm:"primaryKey;size:36"`
	Email vault.Encrypted[string] `gorm:"serializer:vault;type:bytes" vault:"table:accounts;index:email_bidx,email@1"`
	Bidx  []byte                  `gorm:"column:email_bidx;size:16"`
	Bidx2 []byte                  `gorm:"column:email_bidx2;size:16"`
}

type Account2 struct {
	ID    string                  `gorm:"primaryKey;size:36"`
	Email vault.Encrypted[string] `gorm:"serializer:vault;type:bytes" vault:"table:accounts;index:email_bidx,email@1;index:email_bidx2,email@1,generation:2"`
	Bidx  []byte                  `gorm:"column:email_bidx;size:16"`
	Bidx2 []byte                  `gorm:"column:email_bidx2;size:16"`
}

type Account3 struct {
	ID    string                  `gorm:"primaryKey;size:36"`
	Email vault.Encrypted[string] `gorm:"serializer:vault;type:bytes" vault:"table:accounts;index:email_bidx2,email@1,generation:2"`
	Bidx2 []byte                  `gorm:"column:email_bidx2;size:16"`
}

func (Account1) TableName() string { return "accounts" }
func (Account2) TableName() string { return "accounts" }
func (Account3) TableName() string { return "accounts" }

// An index is rotated: written twice, filled by saving every row, switched.
func TestIndexRotation(t *testing.T) {
	each(t, []any{&Account1{}}, func(t *testing.T, e *env) {
		ok(t, e.db.Create(&Account1{ID: "a1", Email: vault.Seal("a1@example.org")}).Error)
		ok(t, e.db.Create(&Account2{ID: "a2", Email: vault.Seal("a2@example.org")}).Error)
		old := e.column(t, "accounts", "email_bidx", "a1")
		sealed := e.column(t, "accounts", "email", "a1")
		var all []Account2
		ok(t, e.db.Find(&all).Error)
		for _, a := range all {
			ok(t, e.db.Save(&a).Error)
		}
		if string(e.column(t, "accounts", "email_bidx", "a1")) != string(old) || string(e.column(t, "accounts", "email", "a1")) != string(sealed) {
			t.Fatal("filling the new index changed something else")
		}
		for _, id := range []string{"a1", "a2"} {
			var two Account2
			var three Account3
			ok(t, e.db.Where(vaultgorm.Eq("Email", id+"@example.org")).First(&two).Error)
			ok(t, e.db.Where(vaultgorm.Eq("Email", id+"@example.org")).First(&three).Error)
			if two.ID != id || three.ID != id || string(two.Bidx) == string(two.Bidx2) {
				t.Fatal("not found by both, or both are one")
			}
		}
	})
}

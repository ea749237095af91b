package fieldtest

import "github.com/embedvault/vault"

// Patient is a row of the table patients. Its tags are those of GORM, bun, and what
// reads db; an adapter that needs others makes a type of its own and copies.
type Patient struct {
	ID    string `db:"id" bun:"id,pk" gorm:"column:id;primaryKey"`
	OrgID string `db:"org_id" bun:"org_id" gorm:"column:org_id" vault:"table:patients;context:organization_id=OrgID"`
	Name  string `db:"name" bun:"name" gorm:"column:name"`

	Email     vault.Encrypted[string] `db:"email" bun:"email" gorm:"column:email;serializer:vault" vault:"index:email_bidx,email@1"`
	EmailBidx []byte                  `db:"email_bidx" bun:"email_bidx" gorm:"column:email_bidx"`
	Note      vault.Encrypted[string] `db:"note" bun:"note" gorm:"column:note;serializer:vault"`
	Weight    vault.Encrypted[int]    `db:"weight" bun:"weight" gorm:"column:weight;serializer:vault"`

	Visits []*Visit `db:"-" bun:"rel:has-many,join:id=patient_id" gorm:"foreignKey:PatientID"`
}

// TableName returns "patients".
func (Patient) TableName() string { return "patients" }

// Visit is a row of the table visits.
type Visit struct {
	ID        string                  `db:"id" bun:"id,pk" gorm:"column:id;primaryKey"`
	OrgID     string                  `db:"org_id" bun:"org_id" gorm:"column:org_id" vault:"table:visits;context:organization_id=OrgID"`
	PatientID string                  `db:"patient_id" bun:"patient_id" gorm:"column:patient_id"`
	Note      vault.Encrypted[string] `db:"note" bun:"note" gorm:"column:note;serializer:vault"`

	Patient *Patient `db:"-" bun:"rel:belongs-to,join:patient_id=id" gorm:"foreignKey:PatientID"`
}

// TableName returns "visits".
func (Visit) TableName() string { return "visits" }

// Card is what a query of some columns is scanned into: it has no key.
type Card struct {
	Name  string                  `db:"name" bun:"name" gorm:"column:name"`
	Email vault.Encrypted[string] `db:"email" bun:"email" gorm:"column:email"`
}

// EmailIndex is the blind index of patients.email, in the column email_bidx.
var EmailIndex = vault.Index{Table: "patients", Column: "email", Normaliser: "email@1"}

// Dialect is an SQL dialect of [Schema].
type Dialect int

// The dialects.
const (
	PostgreSQL Dialect = iota + 1
	MySQL
	SQLite
)

// Schema returns the statements that make the suite's tables.
func Schema(d Dialect) []string {
	key, text, sealed, index := "TEXT", "TEXT", "BYTEA", "BYTEA"
	switch d {
	case MySQL:
		key, text, sealed, index = "VARCHAR(64)", "VARCHAR(200)", "VARBINARY(4096)", "VARBINARY(16)"
	case SQLite:
		sealed, index = "BLOB", "BLOB"
	}
	return []string{
		"CREATE TABLE patients (id " + key + " PRIMARY KEY, org_id " + key + " NOT NULL, name " + text + " NOT NULL, " +
			"email " + sealed + ", email_bidx " + index + ", note " + sealed + ", weight " + sealed + ")",
		"CREATE UNIQUE INDEX patients_email ON patients (org_id, email_bidx)",
		"CREATE TABLE visits (id " + key + " PRIMARY KEY, org_id " + key + " NOT NULL, patient_id " + key + " NOT NULL, note " + sealed + ")",
	}
}

// encryptedColumns are the columns that are sealed, by table.
var encryptedColumns = map[string][]string{
	"patients": {"email", "note", "weight"},
	"visits":   {"note"},
}

CREATE TABLE users (
    id         text  PRIMARY KEY,
    org_id     text  NOT NULL,
    name       text  NOT NULL,
    email      bytea NOT NULL,
    email_bidx bytea NOT NULL,
    ssn        bytea,
    UNIQUE (org_id, email_bidx)
);

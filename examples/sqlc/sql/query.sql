-- name: CreateUser :exec
INSERT INTO users (id, org_id, name, email, email_bidx, ssn)
VALUES ($1, $2, $3, $4, $5, $6);

-- name: CreateUsers :copyfrom
INSERT INTO users (id, org_id, name, email, email_bidx, ssn)
VALUES ($1, $2, $3, $4, $5, $6);

-- name: UserByEmail :one
SELECT * FROM users WHERE org_id = $1 AND email_bidx = $2;

-- name: ListUsers :many
SELECT id, org_id, name, email, ssn FROM users
WHERE id > sqlc.arg(after) ORDER BY id LIMIT sqlc.arg(page_size);

-- name: SetEmail :execrows
UPDATE users SET email = $3, email_bidx = $4 WHERE id = $1 AND org_id = $2;

-- Only what is still as it was read: a writer may have been faster.
-- name: Reencrypt :batchexec
UPDATE users SET email = @email, ssn = @ssn
WHERE id = @id AND email = @old_email AND ssn IS NOT DISTINCT FROM @old_ssn;

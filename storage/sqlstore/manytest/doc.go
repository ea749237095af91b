// Package manytest tests a vault that many processes share: real ones, on a
// real PostgreSQL, MariaDB or etcd, while processes are killed, the database is
// restarted, and the network between them misbehaves. It has only tests.
//
// A process of the test is the test binary, executed again. All of them append
// to one journal what they begin and what was acknowledged, one write call a
// line, so that the order of the lines is an order of real time; an independent
// reader then holds what is stored against the journal (history_test.go says
// what must hold).
//
// Settings, all of them optional:
//
//   - VAULT_TEST_REQUIRE=1: a server that isn't installed is a failure, not a
//     reason to skip.
//   - VAULT_TEST_SEED: the seed that a run has printed, to make the same
//     choices again. What processes do at the same time differs all the same.
//   - VAULT_TEST_MANY: how many times longer than usual to go on.
package manytest

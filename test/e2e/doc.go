// Package e2e tests the built programs the way a person uses them: each test
// has an engine with a data directory of its own. `make e2e` and `make
// e2e-crash` run it, as root and as a plain user.
package e2e

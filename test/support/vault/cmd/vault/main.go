// Command vault is HashiCorp Vault, built from its Go module for the tests: no
// binary of it is to be had from a package registry.
package main

import (
	"os"

	"github.com/hashicorp/vault/command"
)

func main() {
	os.Exit(command.Run(os.Args[1:]))
}

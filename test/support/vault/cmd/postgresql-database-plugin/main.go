// Command postgresql-database-plugin lets the Vault of the tests issue real
// PostgreSQL roles: a minimal Vault has no database engine built in.
package main

import (
	"log"
	"os"

	"github.com/hashicorp/vault/plugins/database/postgresql"
	dbplugin "github.com/hashicorp/vault/sdk/database/dbplugin/v5"
)

func main() {
	if _, err := postgresql.New(); err != nil {
		log.Println(err)
		os.Exit(1)
	}
	dbplugin.ServeMultiplex(postgresql.New)
}

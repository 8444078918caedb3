// The timestamp authority's own server, without the command around it, which watches time servers of the internet.
package main

import (
	"flag"
	"log"
	"time"

	"github.com/sigstore/timestamp-authority/pkg/server"
	"github.com/spf13/viper"
)

func main() {
	port := flag.Int("port", 3004, "where 127.0.0.1 answers HTTP")
	chain := flag.String("chain", "", "the authority's certificates, its own first")
	key := flag.String("key", "", "the authority's encrypted private key")
	password := flag.String("password", "", "of that key")
	flag.Parse()

	viper.Set("timestamp-signer", "file")
	viper.Set("timestamp-signer-hash", "sha256")
	viper.Set("file-signer-key-path", *key)
	viper.Set("file-signer-passwd", *password)
	viper.Set("certificate-chain-path", *chain)
	answering := server.NewRestAPIServer("127.0.0.1", *port, []string{"http"}, false, time.Minute, time.Minute)
	log.Fatal(answering.Serve())
}

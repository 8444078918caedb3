// Fulcio's own server, authority and configuration, without the command around them: that one needs packages which
// Debian does not have (other authorities, middleware for logs). What it answers is what Fulcio answers.
package main

import (
	"context"
	"flag"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/sigstore/fulcio/pkg/ca/fileca"
	"github.com/sigstore/fulcio/pkg/config"
	"github.com/sigstore/fulcio/pkg/generated/protobuf"
	"github.com/sigstore/fulcio/pkg/generated/protobuf/legacy"
	"github.com/sigstore/fulcio/pkg/server"
)

func main() {
	address := flag.String("address", "127.0.0.1:5555", "where HTTP is answered")
	issuers := flag.String("config", "", "Fulcio's configuration: whose tokens are believed")
	chain := flag.String("cert", "", "the authority's certificates, its own first")
	key := flag.String("key", "", "the authority's encrypted private key")
	password := flag.String("password", "", "of that key")
	flag.Parse()

	cfg, err := config.Load(*issuers)
	if err != nil {
		log.Fatal(err)
	}
	authority, err := fileca.NewFileCA(*chain, *key, *password, false)
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	withConfig := func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		return handler(config.With(ctx, cfg), req)
	}
	answering := grpc.NewServer(grpc.UnaryInterceptor(withConfig))
	asked := server.NewGRPCCAServer(nil, authority, server.NewIssuerPool(cfg))
	protobuf.RegisterCAServer(answering, asked)
	legacy.RegisterCAServer(answering, server.NewLegacyGRPCCAServer(asked)) // cosign 2 asks by it.
	go func() { log.Fatal(answering.Serve(listener)) }()

	// The token of the earlier form comes as a header, and its answer has a status of its own.
	mux := runtime.NewServeMux(runtime.WithMetadata(token), runtime.WithForwardResponseOption(status))
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	where := listener.Addr().String()
	if err := protobuf.RegisterCAHandlerFromEndpoint(context.Background(), mux, where, options); err != nil {
		log.Fatal(err)
	}
	if err := legacy.RegisterCAHandlerFromEndpoint(context.Background(), mux, where, options); err != nil {
		log.Fatal(err)
	}
	web := http.Server{Addr: *address, Handler: mux, ReadHeaderTimeout: time.Minute}
	log.Fatal(web.ListenAndServe())
}

func token(_ context.Context, request *http.Request) metadata.MD {
	return metadata.Pairs(server.MetadataOIDCTokenKey, strings.TrimPrefix(request.Header.Get("Authorization"), "Bearer "))
}

func status(ctx context.Context, answer http.ResponseWriter, _ proto.Message) error {
	told, _ := runtime.ServerMetadataFromContext(ctx)
	if codes := told.HeaderMD.Get(server.HTTPResponseCodeMetadataKey); len(codes) > 0 {
		code, err := strconv.Atoi(codes[0])
		if err != nil {
			return err
		}
		answer.WriteHeader(code)
	}
	return nil
}

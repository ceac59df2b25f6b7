// Command rpc is a gRPC server with all kinds of streaming, health checks and
// reflection.
package main

import (
	"context"
	"flag"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"strings"

	"github.com/pith-os/pith/conformance/apps/rpc/stream"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func main() {
	addr := flag.String("addr", ":50051", "address to listen on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	s := grpc.NewServer()
	s.RegisterService(&stream.Desc, server{})
	healthpb.RegisterHealthServer(s, health.NewServer())
	reflection.Register(s)
	context.AfterFunc(ctx, s.GracefulStop)
	if err := s.Serve(l); err != nil {
		log.Fatal(err)
	}
}

// server implements stream.Server.
type server struct{}

func (server) Upper(_ context.Context, in *wrapperspb.StringValue) (*wrapperspb.StringValue, error) {
	if in.Value == "" {
		return nil, status.Error(codes.InvalidArgument, "nothing to change")
	}
	return wrapperspb.String(strings.ToUpper(in.Value)), nil
}

func (server) Count(in *wrapperspb.Int64Value, send func(*wrapperspb.Int64Value) error) error {
	for n := range in.Value {
		if err := send(wrapperspb.Int64(n + 1)); err != nil {
			return err
		}
	}
	return nil
}

func (server) Sum(receive func() (*wrapperspb.Int64Value, error)) (*wrapperspb.Int64Value, error) {
	var sum int64
	for {
		v, err := receive()
		if err == io.EOF {
			return wrapperspb.Int64(sum), nil
		}
		if err != nil {
			return nil, err
		}
		sum += v.Value
	}
}

func (server) Echo(receive func() (*wrapperspb.StringValue, error), send func(*wrapperspb.StringValue) error) error {
	for {
		v, err := receive()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := send(v); err != nil {
			return err
		}
	}
}

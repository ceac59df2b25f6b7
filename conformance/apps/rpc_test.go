package apps

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/pith-os/pith/conformance/apps/rpc/stream"
	"github.com/pith-os/pith/conformance/harness"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func TestGRPC(t *testing.T) {
	harness.Serve(t, server("./rpc"), 0, func(t *testing.T, i *harness.Instance) {
		c, err := grpc.NewClient(i.Addr("80"), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), harness.Timeout)
		defer cancel()
		health, err := healthpb.NewHealthClient(c).Check(ctx, &healthpb.HealthCheckRequest{})
		if err != nil || health.Status != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("health: %v, %v", health, err)
		}
		for name, check := range map[string]func(context.Context, *grpc.ClientConn) error{
			"unary": checkUnary, "server stream": checkCount, "client stream": checkSum, "both ways": checkEcho,
		} {
			t.Run(name, func(t *testing.T) {
				if err := check(ctx, c); err != nil {
					t.Error(err)
				}
			})
		}
		t.Run("many streams of one connection", func(t *testing.T) {
			var wg sync.WaitGroup
			for range 30 {
				wg.Go(func() {
					if err := checkEcho(ctx, c); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		})
	})
}

func checkUnary(ctx context.Context, c *grpc.ClientConn) error {
	out := new(wrapperspb.StringValue)
	text := strings.Repeat("many bytes ", 100_000)
	if err := c.Invoke(ctx, stream.Upper, wrapperspb.String(text), out); err != nil {
		return err
	}
	if out.Value != strings.ToUpper(text) {
		return fmt.Errorf("%d bytes came back", len(out.Value))
	}
	err := c.Invoke(ctx, stream.Upper, wrapperspb.String(""), out)
	if status.Code(err) != codes.InvalidArgument {
		return fmt.Errorf("an error's code did not come through: %v", err)
	}
	return nil
}

func checkCount(ctx context.Context, c *grpc.ClientConn) error {
	const n = 5000
	s, err := stream.Open(ctx, c, stream.Count)
	if err != nil {
		return err
	}
	if err := s.SendMsg(wrapperspb.Int64(n)); err != nil {
		return err
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	var last int64
	if err := stream.Receive(s, func(v int64) { last = v }); err != nil || last != n {
		return fmt.Errorf("counted to %d: %v", last, err)
	}
	return nil
}

func checkSum(ctx context.Context, c *grpc.ClientConn) error {
	s, err := stream.Open(ctx, c, stream.Sum)
	if err != nil {
		return err
	}
	for n := range int64(1000) {
		if err := s.SendMsg(wrapperspb.Int64(n)); err != nil {
			return err
		}
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	var sum int64
	if err := stream.Receive(s, func(v int64) { sum = v }); err != nil || sum != 499_500 {
		return fmt.Errorf("sum %d: %v", sum, err)
	}
	return nil
}

func checkEcho(ctx context.Context, c *grpc.ClientConn) error {
	s, err := stream.Open(ctx, c, stream.Echo)
	if err != nil {
		return err
	}
	for n := range 100 {
		want := fmt.Sprint("message ", n)
		if err := s.SendMsg(wrapperspb.String(want)); err != nil {
			return err
		}
		got := new(wrapperspb.StringValue)
		if err := s.RecvMsg(got); err != nil || got.Value != want {
			return fmt.Errorf("%q came back as %q: %v", want, got.Value, err)
		}
	}
	return s.CloseSend()
}

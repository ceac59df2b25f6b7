// Package stream is a gRPC service with a method of each kind, described by
// hand with the well-known message types: server and client share it.
package stream

import (
	"context"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The methods' full names.
const (
	service = "pith.conformance.Stream"
	Upper   = "/" + service + "/Upper" // one string, one string
	Count   = "/" + service + "/Count" // a number n, then 1 to n
	Sum     = "/" + service + "/Sum"   // numbers, their sum
	Echo    = "/" + service + "/Echo"  // each string, at once, back
)

// Server implements the methods.
type Server interface {
	Upper(ctx context.Context, in *wrapperspb.StringValue) (*wrapperspb.StringValue, error)
	Count(in *wrapperspb.Int64Value, send func(*wrapperspb.Int64Value) error) error
	Sum(receive func() (*wrapperspb.Int64Value, error)) (*wrapperspb.Int64Value, error)
	Echo(receive func() (*wrapperspb.StringValue, error), send func(*wrapperspb.StringValue) error) error
}

// Desc describes the service to grpc.Server.RegisterService.
var Desc = grpc.ServiceDesc{
	ServiceName: service,
	HandlerType: (*Server)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Upper", Handler: func(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		in := new(wrapperspb.StringValue)
		if err := decode(in); err != nil {
			return nil, err
		}
		return srv.(Server).Upper(ctx, in)
	}}},
	Streams: []grpc.StreamDesc{
		{StreamName: "Count", ServerStreams: true, Handler: func(srv any, s grpc.ServerStream) error {
			in := new(wrapperspb.Int64Value)
			if err := s.RecvMsg(in); err != nil {
				return err
			}
			return srv.(Server).Count(in, func(v *wrapperspb.Int64Value) error { return s.SendMsg(v) })
		}},
		{StreamName: "Sum", ClientStreams: true, Handler: func(srv any, s grpc.ServerStream) error {
			out, err := srv.(Server).Sum(func() (*wrapperspb.Int64Value, error) {
				v := new(wrapperspb.Int64Value)
				return v, s.RecvMsg(v)
			})
			if err != nil {
				return err
			}
			return s.SendMsg(out)
		}},
		{StreamName: "Echo", ServerStreams: true, ClientStreams: true, Handler: func(srv any, s grpc.ServerStream) error {
			return srv.(Server).Echo(func() (*wrapperspb.StringValue, error) {
				v := new(wrapperspb.StringValue)
				return v, s.RecvMsg(v)
			}, func(v *wrapperspb.StringValue) error { return s.SendMsg(v) })
		}},
	},
}

// Open begins a call of one of the streaming methods, for the client.
func Open(ctx context.Context, c *grpc.ClientConn, method string) (grpc.ClientStream, error) {
	return c.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
}

// Receive calls f for each number until the stream ends.
func Receive(s grpc.ClientStream, f func(int64)) error {
	for {
		v := new(wrapperspb.Int64Value)
		switch err := s.RecvMsg(v); err {
		case nil:
			f(v.Value)
		case io.EOF:
			return nil
		default:
			return err
		}
	}
}

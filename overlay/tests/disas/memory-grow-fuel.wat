;;! target = "x86_64"
;;! test = "optimize"
;;! flags = "-W fuel=1"

;; Pages are charged once they are there, and those that are not cost nothing.
(module
  (memory 1)
  (func $grow (param i32) (result i32)
    (memory.grow (local.get 0))))

;; function u0:0(i64 vmctx, i64, i32) -> i32 tail {
;;     region0 = 8 "VMContext+0x8"
;;     region1 = 67108888 "VMStoreContext+0x18"
;;     region2 = 67108864 "VMStoreContext+0x0"
;;     region3 = 603979776 "VMMemoryDefinition+0x0"
;;     region4 = 603979784 "VMMemoryDefinition+0x8"
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned readonly can_move region0 gv0+8
;;     gv2 = load.i64 notrap aligned region1 gv1+24
;;     sig0 = (i64 vmctx) -> i8 tail
;;     sig1 = (i64 vmctx, i64, i32) -> i64 tail
;;     fn0 = colocated u805306368:12 sig0
;;     fn1 = colocated u805306368:0 sig1
;;     stack_limit = gv2
;;
;;                                 block0(v0: i64, v1: i64, v2: i32):
;; @001d                               v3 = load.i64 notrap aligned readonly can_move region0 v0+8
;; @001d                               v4 = load.i64 notrap aligned region2 v3
;; @001d                               v5 = iconst.i64 1
;; @001d                               v6 = iadd v4, v5  ; v5 = 1
;; @001d                               v7 = iconst.i64 0
;; @001d                               v8 = icmp sge v6, v7  ; v7 = 0
;; @001d                               brif v8, block2, block3(v6)
;;
;;                                 block2:
;;                                     v29 = iadd.i64 v4, v5  ; v5 = 1
;; @001d                               store notrap aligned region2 v29, v3
;; @001d                               v10 = call fn0(v0)
;; @001d                               v12 = load.i64 notrap aligned region2 v3
;; @001d                               jump block3(v12)
;;
;;                                 block3(v15: i64):
;; @0020                               v16 = iconst.i64 2
;; @0020                               v17 = iadd v15, v16  ; v16 = 2
;; @0020                               store notrap aligned region2 v17, v3
;; @0020                               v18 = uextend.i64 v2
;; @0020                               v14 = iconst.i32 0
;; @0020                               v20 = call fn1(v0, v18, v14)  ; v14 = 0
;; @0020                               v22 = load.i64 notrap aligned region2 v3
;; @0022                               jump block1
;;
;;                                 block1:
;; @0020                               v23 = ireduce.i32 v20
;; @0022                               return v23
;; }

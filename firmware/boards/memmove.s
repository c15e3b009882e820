@ Moves bytes that may overlap, one by one. It is hardly used, and the compiler's own, made for speed, takes 1.5 KB.
    .syntax unified
    .section .text.memmove, "ax", %progbits
    .p2align 2
    .global memmove
    .global __aeabi_memmove
    .global __aeabi_memmove4
    .global __aeabi_memmove8
    .type memmove, %function
    .type __aeabi_memmove, %function
    .type __aeabi_memmove4, %function
    .type __aeabi_memmove8, %function
    .thumb_func
memmove:
    .thumb_func
__aeabi_memmove:
    .thumb_func
__aeabi_memmove4:
    .thumb_func
__aeabi_memmove8:
    mov r12, r0
    @ From the end, if the destination begins within the source.
    subs r3, r0, r1
    cmp r3, r2
    bhs 2f
1:
    cbz r2, 3f
    subs r2, #1
    ldrb r3, [r1, r2]
    strb r3, [r0, r2]
    b 1b
2:
    cbz r2, 3f
    ldrb r3, [r1], #1
    strb r3, [r0], #1
    subs r2, #1
    b 2b
3:
    mov r0, r12
    bx lr

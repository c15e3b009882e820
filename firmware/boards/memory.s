@ Copies, moves and fills memory. The compiler's own, made for speed, take 3 KB, and are hardly faster: most of what
@ is copied here is 32 bytes. Words need not be aligned, as long as they are loaded and stored one by one.
    .syntax unified
    .section .text.memcpy, "ax", %progbits
    .p2align 2
    .global memcpy
    .global __aeabi_memcpy
    .global __aeabi_memcpy4
    .global __aeabi_memcpy8
    .type memcpy, %function
    .type __aeabi_memcpy, %function
    .type __aeabi_memcpy4, %function
    .type __aeabi_memcpy8, %function
    .thumb_func
memcpy:
    .thumb_func
__aeabi_memcpy:
    .thumb_func
__aeabi_memcpy4:
    .thumb_func
__aeabi_memcpy8:
    push {r0, r4, r5, lr}
    orr r3, r0, r1
    lsls r3, r3, #30
    bne 2f
    @ Aligned: four words at once.
    subs r2, #16
    blo 3f
1:
    ldmia r1!, {r3, r4, r5, r12}
    stmia r0!, {r3, r4, r5, r12}
    subs r2, #16
    bhs 1b
3:
    adds r2, #16
2:
    subs r2, #4
    blo 5f
4:
    ldr r3, [r1], #4
    str r3, [r0], #4
    subs r2, #4
    bhs 4b
5:
    adds r2, #4
    beq 7f
6:
    ldrb r3, [r1], #1
    strb r3, [r0], #1
    subs r2, #1
    bne 6b
7:
    pop {r0, r4, r5, pc}

    .section .text.__aeabi_memset, "ax", %progbits
    .p2align 2
    .global __aeabi_memset
    .global __aeabi_memset4
    .global __aeabi_memset8
    .global __aeabi_memclr
    .global __aeabi_memclr4
    .global __aeabi_memclr8
    .type __aeabi_memset, %function
    .type __aeabi_memset4, %function
    .type __aeabi_memset8, %function
    .type __aeabi_memclr, %function
    .type __aeabi_memclr4, %function
    .type __aeabi_memclr8, %function
    .thumb_func
__aeabi_memclr:
    .thumb_func
__aeabi_memclr4:
    .thumb_func
__aeabi_memclr8:
    movs r2, #0
    .thumb_func
__aeabi_memset:
    .thumb_func
__aeabi_memset4:
    .thumb_func
__aeabi_memset8:
    mov r3, r0
    uxtb r2, r2
    orr r2, r2, r2, lsl #8
    orr r2, r2, r2, lsl #16
    subs r1, #4
    blo 2f
1:
    str r2, [r3], #4
    subs r1, #4
    bhs 1b
2:
    adds r1, #4
    beq 4f
3:
    strb r2, [r3], #1
    subs r1, #1
    bne 3b
4:
    bx lr

    @ What may overlap, byte by byte: it is hardly used.
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
